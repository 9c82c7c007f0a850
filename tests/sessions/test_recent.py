"""What a process remembers of the sessions that it has just seen."""

import time
import tracemalloc

import pytest

from scalekit.sessions._recent import Recent, Seen
from scalekit.sessions.store import Loaded


def test_until_it_is_due() -> None:
    """5. Seen a while ago is recent for a long step, and not for a short one; forgotten is not recent."""
    recent = Recent()
    assert recent.get("a", within=10**9) is None
    seen = Seen(time.monotonic() - 60)
    recent.note("a", seen)
    assert recent.get("a", within=70_000) is seen
    assert recent.get("a", within=60_000) is None
    assert recent.get("b", within=70_000) is None
    recent.forget("a")
    recent.forget("a")
    assert recent.get("a", within=70_000) is None


def test_one_that_has_changed() -> None:
    """5. When it was seen is remembered, and what it was is not; of one that is unknown nothing is."""
    recent, moment = Recent(), time.monotonic()
    recent.note("a", Seen(moment, Loaded({b"a": b"1"}), 4))
    recent.changed("a")
    recent.changed("b")
    assert recent.get("a", within=10**9) == Seen(moment)
    assert recent.get("b", within=10**9) is None


def test_it_does_not_grow_for_ever() -> None:
    """Ten thousand sessions are remembered at most."""
    recent = Recent()
    for number in range(25_000):
        recent.note(str(number), Seen(time.monotonic()))
        assert recent.get(str(number), within=10**9) is not None
    assert len(recent._seen) <= 10_000


@pytest.mark.parametrize(("keys", "size"), [(1, 1 << 20), (1000, 1)])
def test_nor_by_what_is_in_them(keys: int, size: int) -> None:
    """32 MiB of memory is used at most, of however few sessions; the newest is among them."""
    recent = Recent()
    tracemalloc.start()
    try:
        for number in range(400):
            fields = {b"%d-%d" % (number, key): b"%0*d" % (size, key) for key in range(1000, 1000 + keys)}
            recent.note(str(number), Seen(time.monotonic(), Loaded(fields), 4))
            assert recent.get(str(number), within=10**9) is not None
        assert tracemalloc.get_traced_memory()[1] <= 36 << 20  # what is about to be noted, too
    finally:
        tracemalloc.stop()
