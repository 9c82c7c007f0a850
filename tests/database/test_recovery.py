"""What may be repeated after an error, and where. No server needed."""

import pytest

from scalekit.database.backends.postgresql import PostgreSQL
from scalekit.database.backends.protocol import Trouble
from scalekit.database.recovery import Repeat, repeat


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        ("25006", Trouble.WRITE_REFUSED),
        ("0A000", Trouble.FEATURE_REFUSED),
        ("40001", Trouble.CONFLICT),
        ("57P01", Trouble.GONE),
        ("08006", Trouble.GONE),
        ("08P01", Trouble.OTHER),
        ("28P01", Trouble.LOGIN),
        ("23505", Trouble.SERVER_SAID_NO),
        (None, Trouble.OTHER),
    ],
)
def test_what_postgresql_means(code: str | None, trouble: Trouble) -> None:
    """An error of the server's says that nothing was executed, one about the connection says nothing."""
    assert PostgreSQL().trouble(code) is trouble


@pytest.mark.parametrize("trouble", list(Trouble))
def test_on_the_primary_nothing_is_repeated(trouble: Trouble) -> None:
    """17. It may have written."""
    assert repeat(trouble, replica=False, statements=0) is Repeat.NOWHERE


def test_what_a_replica_refuses_runs_on_the_primary() -> None:
    """11. It has not been executed, so it does not matter what was before it."""
    for trouble in (Trouble.WRITE_REFUSED, Trouble.FEATURE_REFUSED):
        assert repeat(trouble, replica=True, statements=3) is Repeat.ON_PRIMARY


def test_what_was_read_already_is_not_repeated() -> None:
    """12. The first read of a transaction may go elsewhere; a later one fails."""
    for trouble in (Trouble.GONE, Trouble.CONFLICT):
        assert repeat(trouble, replica=True, statements=0) is Repeat.ELSEWHERE
        assert repeat(trouble, replica=True, statements=1) is Repeat.NOWHERE
    assert repeat(Trouble.CONFLICT, replica=True, statements=0, lost=2) is Repeat.ELSEWHERE
    assert repeat(Trouble.GONE, replica=True, statements=0, lost=2) is Repeat.NOWHERE
    assert repeat(Trouble.SERVER_SAID_NO, replica=True, statements=0) is Repeat.NOWHERE
    assert repeat(Trouble.OTHER, replica=True, statements=0) is Repeat.NOWHERE
