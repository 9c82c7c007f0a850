"""Values as people write and read them."""

import pytest

from scalekit.cli._values import counted, lasting


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 m 0 s"),
        (899, "14 m 59 s"),
        (7197, "1 h 59 m"),
        (86400, "1 d 0 h"),
        (90 * 86400 + 3600, "90 d 1 h"),
    ],
)
def test_how_long_something_lasts(seconds: float, text: str) -> None:
    """In the two largest units."""
    assert lasting(seconds) == text


def test_how_many() -> None:
    """One is no plural."""
    assert [counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
