"""Who shares a computation under way, by what was found in the back end."""

from typing import Any

import pytest

from scalekit.cache.backend import Lease
from scalekit.cache.entry import Found, pack_lease, versions
from scalekit.cache.flights import ABANDONED, AsyncFlights, Part, SyncFlights
from scalekit.cache.versions import marked, pack


def found(version: bytes | None, *, token: bytes | None = None) -> Found:
    """Of a lookup with one tag, which has ``version``; the generation's is ``version0``."""
    records = (pack(b"version0", 1), pack(version, 1) if version else None)
    under = versions(records)
    return Found(pack_lease(token, under) if token and under else None, records)


TOKEN = b"t" * 16
NONE, ONE, TWO = found(None), found(b"version1"), found(b"version2")
DIRTY = ONE._replace(tags=(ONE.tags[0], marked(None, b"writer00", now=1, ends=2)))
LEASE = Lease("k", TOKEN, versions(ONE.tags) or b"", mine=True, left=5)
MINE = found(b"version1", token=TOKEN)


@pytest.mark.parametrize(
    ("leader", "lease", "later", "part"),
    [
        (ONE, ..., ONE, Part.SHARE),  # it has not begun, and will see what is committed by now
        (NONE, ..., ONE, Part.SHARE),  # the version was made since; it will be read again
        (ONE, ..., TWO, Part.LEAD),  # the tag was dropped since
        (ONE, ..., NONE, Part.LEAD),
        (ONE, ..., DIRTY, Part.LEAD),
        (DIRTY, ..., ONE, Part.SHARE),
        (ONE, ..., None, Part.FOLLOW),  # in place of a lease it may get an older result, and we cannot tell
        (None, ..., ONE, Part.SHARE),  # it will not ask for a lease
        (None, ..., None, Part.SHARE),
        (ONE, LEASE, MINE, Part.SHARE),
        (ONE, LEASE, ONE, Part.LEAD),  # its lease is gone: the key was dropped
        (ONE, LEASE, MINE._replace(tags=TWO.tags), Part.LEAD),
        (ONE, LEASE, MINE._replace(tags=NONE.tags), Part.LEAD),
        (ONE, LEASE, found(b"version1", token=b"o" * 16), Part.LEAD),
        (ONE, None, ONE, Part.FOLLOW),  # it has no lease to compare
        (ONE, LEASE, None, Part.FOLLOW),  # the back end is away from here; others may have invalidated
        (None, None, None, Part.FOLLOW),
    ],
)
async def test_who_shares(leader: Found | None, lease: Any, later: Found | None, part: Part) -> None:
    """6. Those who found no sign of an invalidation since it began; who cannot tell shares the next."""
    flights = AsyncFlights()
    flight, first = flights.enter("k", ("t",), leader, called=0)
    assert first is Part.LEAD
    if lease is not ...:
        flight.begin(lease)
    again, found_part = flights.enter("k", ("t",), later, called=float("inf"))
    assert found_part is part
    assert (again is flight) is (part is not Part.LEAD)


@pytest.mark.parametrize("lease", [LEASE, None])
@pytest.mark.parametrize("later", [ONE, TWO, NONE, None])
async def test_who_called_before_it_began_shares(lease: Lease | None, later: Found | None) -> None:
    """6. Whatever was found: what was invalidated before the call, the function sees."""
    flights = AsyncFlights()
    flight, _ = flights.enter("k", ("t",), ONE, called=0)
    flight.begin(lease)
    assert flights.enter("k", ("t",), later, called=0) == (flight, Part.SHARE)


def test_detached_flights_land_unseen() -> None:
    """6. Who is in one stays; who comes later starts another, which the first does not end."""
    flights = SyncFlights()
    first, _ = flights.enter("k", ("t",), NONE, called=0)
    flights.detach(set(), {"other"})
    assert flights.enter("k", ("t",), NONE, called=0) == (first, Part.SHARE)
    flights.detach(set(), {"t"})
    second, part = flights.enter("k", ("t",), NONE, called=0)
    assert part is Part.LEAD
    flights.land(first, b"old")
    assert flights.wait(first) == b"old"
    assert flights.enter("k", ("t",), NONE, called=0) == (second, Part.SHARE)
    flights.land(second, ABANDONED)
    flights.crash(second, LookupError())  # it has ended
    flights.wait_end(second)
    assert flights.wait(second) is ABANDONED
