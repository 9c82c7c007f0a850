"""What a process remembers of the sessions that it has just seen."""

import time

from scalekit.sessions._recent import Recent


def test_until_it_is_due() -> None:
    """5. Seen a while ago is recent for a long step, and not for a short one; forgotten is not recent."""
    recent = Recent()
    assert ("a", 10**9) not in recent
    recent.note("a", 60_000, time.monotonic())
    assert ("a", 70_000) in recent
    assert ("a", 60_000) not in recent
    assert ("b", 70_000) not in recent
    recent.forget("a")
    recent.forget("a")
    assert ("a", 70_000) not in recent


def test_it_does_not_grow_for_ever() -> None:
    """Ten thousand sessions are remembered at most."""
    recent = Recent()
    for number in range(25_000):
        recent.note(str(number), 0, time.monotonic())
        assert (str(number), 10**9) in recent
    assert len(recent._seen) <= 10_000
