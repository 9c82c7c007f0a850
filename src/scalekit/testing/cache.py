"""The contract of the cache's back ends as a test that anyone can run: ``check_backend(MyBackend(...))``."""

import asyncio
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

from scalekit._steps import Steps, run, run_async
from scalekit.cache.backend import Backend, Entries
from scalekit.testing._backends.endless import check_endless
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
from scalekit.types import Colour


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
                _entries(backend, "sync"),
                lambda calls: [future.result() for future in [threads.submit(run, call) for call in calls]],
                lambda: time.sleep(0.02),
            )
        )


async def check_backend_async(backend: Backend) -> None:
    """Check what :func:`check_backend` checks, called from tasks of this event loop."""
    await run_async(
        _check(
            _entries(backend, "async"),
            lambda calls: asyncio.gather(*[run_async(call) for call in calls]),
            lambda: asyncio.sleep(0.02),
        )
    )


_STEPS = {name for name, value in vars(Entries).items() if callable(value) and not name.startswith("_")} - {
    "close"
}
"""The methods that are generators of steps."""


def _entries(backend: Backend, colour: Colour) -> Entries:
    assert isinstance(getattr(backend, "local", None), bool), "local: True, or False where others share it"
    assert callable(getattr(backend, "using", None)), "using: there is no such method"
    entries = backend.using(colour)
    assert hasattr(entries, "limit"), "limit: the bytes of the largest value, or None"
    for name in sorted({*_STEPS, "close"}):
        assert callable(getattr(entries, name, None)), f"{name}: what using(colour) gives has no such method"
    return cast(Entries, _Stepping(entries))


class _Stepping:
    """Entries of which each method gives steps."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._entries, name)
        return partial(_called, name, value) if name in _STEPS else value


def _called(name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    steps = method(*args, **kwargs)
    assert isinstance(steps, Generator), (
        f"{name}: gives a {type(steps).__name__}, not steps; write it as a generator"
    )
    return steps


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
    yield from check_endless(entries)
    yield from in_turns([check_generation(entries)], pause)
