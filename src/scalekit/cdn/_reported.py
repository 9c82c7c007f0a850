"""What assets, shields and purges count, as metrics."""

from collections.abc import Iterator, Mapping

from scalekit.metrics import Metric, counter, counters

_UNTOUCHED = {
    "charset": "charset",
    "encoded": "encoded",
    "errors": "error",
    "garbled": "garbled",
    "no-transform": "no-transform",
}
_WITHOUT = {"cdn-down": "down", "cdn-errors": "error"}


def of_pages(counts: Mapping[str, int]) -> Iterator[Metric]:
    """What became of pages."""
    yield counter("scalekit_cdn_pages_rewritten", "Pages that were rewritten.", counts.get("pages", 0))
    yield counter("scalekit_cdn_urls_rewritten", "URLs in them that were replaced.", counts.get("urls", 0))
    yield counters(
        "scalekit_cdn_pages_untouched",
        "Pages that passed as they were, by reason; error is a fault in the rewriter.",
        {reason: counts.get(name, 0) for name, reason in _UNTOUCHED.items()},
        label="reason",
    )
    yield counters(
        "scalekit_cdn_pages_without_cdn",
        "Pages that did without a CDN because it is down, or the function that chooses it failed.",
        {reason: counts.get(name, 0) for name, reason in _WITHOUT.items()},
        label="reason",
    )


def of_shield(counts: Mapping[str, int]) -> Iterator[Metric]:
    """Whom a shield let in; ``secret 1`` and so on by which secret."""
    secrets = {name.replace(" ", "_"): number for name, number in counts.items() if name.startswith("secret")}
    known = {name: counts.get(name, 0) for name in ("exempt", "missing", "wrong")}
    yield counters(
        "scalekit_cdn_shield_requests",
        "Requests by how they were let in (secret_1, exempt), or why they were not (missing, wrong).",
        {**dict(sorted(secrets.items())), **known},
        label="result",
    )
    yield counter(
        "scalekit_cdn_shield_no_address",
        "Of those let in, without a visitor's address.",
        counts.get("no address", 0),
    )


def of_purges(counts: Mapping[str, int]) -> Iterator[Metric]:
    """What became of tags."""
    yield counters(
        "scalekit_cdn_purges",
        "Tags that were purged, and those that were given up.",
        {"purged": counts.get("purged", 0), "given_up": counts.get("given up", 0)},
        label="result",
    )
    yield counter("scalekit_cdn_purge_retries", "Requests to be tried again.", counts.get("retries", 0))
