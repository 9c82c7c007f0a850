"""When a process has heard enough of the members to choose among them. No server needed."""

import pytest

from scalekit.database.first_round import FirstRound

MEMBERS = ("primary", "replica")


@pytest.fixture
def round_() -> FirstRound:
    return FirstRound(over=False)


def heard(round_: FirstRound, member: str, *, failed: bool = False, listed: bool = True) -> tuple[bool, bool]:
    again = round_.heard(member, failed=failed, members=MEMBERS, listed=listed)
    return again, round_.over


def test_everybody_is_asked_twice(round_: FirstRound) -> None:
    """1. What a replica said before the primary had told its position cannot be compared with that."""
    assert heard(round_, "replica") == (False, False)
    assert heard(round_, "replica") == (False, False)
    assert heard(round_, "primary") == (True, False), "all are to be asked once more, and that once"
    assert heard(round_, "replica") == (False, False)
    assert heard(round_, "primary") == (False, True)


def test_nobody_waits_for_one_that_is_down(round_: FirstRound) -> None:
    """12. It has had its two questions already."""
    assert heard(round_, "replica", failed=True) == (False, False)
    assert heard(round_, "primary") == (True, False)
    assert heard(round_, "primary") == (False, True)


def test_not_before_it_is_known_who_they_are(round_: FirstRound) -> None:
    """24. The list of replicas may still be on its way."""
    for _ in range(3):
        assert heard(round_, "primary", listed=False) == (False, False)
        assert heard(round_, "replica", listed=False) == (False, False)
    assert heard(round_, "primary") == (False, True)
