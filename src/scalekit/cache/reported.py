"""What a cache counts, as metrics."""

from collections.abc import Iterator

from scalekit.cache.local import Local
from scalekit.cache.stats import Stats
from scalekit.metrics import Metric, counter, counters, gauge


def reported(stats: Stats, local: Local) -> Iterator[Metric]:
    """The same numbers as in ``stats``, and how full the memory of this process is."""
    yield counters(
        "scalekit_cache_hits",
        "Calls answered from the cache: from this process's memory (local), or from the back end.",
        {"local": stats.local_hits, "backend": stats.hits},
        label="tier",
    )
    yield counter("scalekit_cache_misses", "Calls that found nothing valid.", stats.misses)
    yield counter("scalekit_cache_stale_answers", "Calls answered with what had grown stale.", stats.stale)
    yield counter(
        "scalekit_cache_bypasses", "Calls inside transactions with changes of their own.", stats.bypasses
    )
    yield counter("scalekit_cache_passes", "Pages that were not for everybody.", stats.passes)
    yield counter("scalekit_cache_computes", "Times that a function was run.", stats.computes)
    yield counter("scalekit_cache_waits", "Misses that waited for another's computation.", stats.waits)
    yield counter("scalekit_cache_refreshes", "Computations begun in the background.", stats.refreshes)
    yield counter(
        "scalekit_cache_compute_failures",
        "Computations that raised while a result was at hand.",
        stats.failures,
    )
    yield counter("scalekit_cache_fills", "Results that were stored.", stats.fills)
    yield counters(
        "scalekit_cache_not_stored",
        "Results that were not: what they were made of had changed (discarded), or they were too large.",
        {"discarded": stats.discarded, "oversized": stats.oversized},
        label="reason",
    )
    yield counter("scalekit_cache_invalidations", "Keys and tags that were dropped.", stats.invalidations)
    yield counter("scalekit_cache_errors", "Operations that the back end failed.", stats.errors)
    yield counter(
        "scalekit_cache_losses",
        "Times that it could not hear what others invalidate, and emptied its memory.",
        stats.losses,
    )
    yield counter("scalekit_cache_read_bytes", "Bytes that came from the back end.", stats.bytes_read)
    yield counter("scalekit_cache_written_bytes", "Bytes that went to the back end.", stats.bytes_written)
    yield gauge("scalekit_cache_local_entries", "Results in this process's memory.", len(local))
    yield gauge("scalekit_cache_local_bytes", "About how many bytes they have.", local.bytes)
