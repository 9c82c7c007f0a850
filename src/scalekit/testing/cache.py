"""The contract of the cache's back ends as a test that anyone can run: ``check_backend(MyBackend(...))``."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from scalekit._steps import Steps, run, run_async
from scalekit.cache.backend import Backend, Entries
from scalekit.testing._backends.entries import (
    check_drops,
    check_fills,
    check_leases,
    check_reading,
    check_release,
)
from scalekit.testing._backends.races import (
    AT_ONCE,
    Together,
    check_races,
    check_races_of_invalidations,
    check_races_of_writers,
)
from scalekit.testing._backends.refreshing import check_refreshing
from scalekit.testing._backends.tags import (
    check_dropped_tags,
    check_marks,
    check_positions,
    check_writers,
)
from scalekit.testing._backends.times import (
    check_entry_time,
    check_generation,
    check_lease_time,
    check_mark_time,
    check_refresh_time,
)
from scalekit.testing._turns import Pause, in_turns


def check_backend(backend: Backend) -> None:
    """Check that ``backend`` keeps the contract of :mod:`scalekit.cache.backend`, called from threads.

    It drops everything that is in it, so give it a prefix of its own; and time-outs of seconds, for sixteen
    threads ask at once. It takes a few seconds itself, as some of the rules are about time. What it leaves
    ends within a minute, but for the records of some tags.

    Raises:
        AssertionError: it does not; the message says what.
    """
    with ThreadPoolExecutor(AT_ONCE) as threads:
        run(
            _check(
                backend.using("sync"),
                lambda calls: [future.result() for future in [threads.submit(run, call) for call in calls]],
                lambda: time.sleep(0.02),
            )
        )


async def check_backend_async(backend: Backend) -> None:
    """Check what :func:`check_backend` checks, called from tasks of this event loop."""
    await run_async(
        _check(
            backend.using("async"),
            lambda calls: asyncio.gather(*[run_async(call) for call in calls]),
            lambda: asyncio.sleep(0.02),
        )
    )


def _check(entries: Entries, together: Together, pause: Pause) -> Steps[None]:
    limit = entries.limit
    assert limit is None or limit > 0, "limit: the bytes of the largest value, or None"
    yield from entries.ping()
    for check in (
        check_reading,
        check_leases,
        check_fills,
        check_release,
        check_drops,
        check_dropped_tags,
        check_marks,
        check_writers,
        check_positions,
        check_refreshing,
    ):
        yield from check(entries)
    for race in (check_races, check_races_of_invalidations, check_races_of_writers):
        yield from race(entries, together)
    about_time = (check_lease_time, check_entry_time, check_mark_time, check_refresh_time)
    yield from in_turns([check(entries) for check in about_time], pause)
    yield from in_turns([check_generation(entries)], pause)
