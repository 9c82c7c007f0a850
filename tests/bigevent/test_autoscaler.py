"""How many processes the fleet of the proof gets."""

import pytest

from examples.bigevent.autoscaler import Autoscaler, Target

TARGET = Target(in_flight=5.0, least=3, most=8, step=2, patience=10.0)


@pytest.mark.parametrize(
    ("running", "in_flight", "wanted"),
    [
        (3, 0, 3),  # never below the least
        (3, 15, 3),  # just right
        (3, 16, 4),
        (3, 100, 5),  # a step at a time
        (7, 100, 8),  # never above the most
        (0, 0, 3),  # all were killed
        (2, 0, 3),
    ],
)
def test_as_many_as_the_requests_need(running: int, in_flight: float, wanted: int) -> None:
    """Up at once, within the bounds, a step at a time."""
    assert Autoscaler(TARGET).decide(0.0, running=running, in_flight=in_flight) == wanted


def test_one_goes_after_patience() -> None:
    """Down one at a time, each after fewer would have done for as long."""
    scaler = Autoscaler(TARGET)
    decisions = [(at, scaler.decide(float(at), running=6, in_flight=10)) for at in (0, 9, 10, 19, 20)]
    assert decisions == [(0, 6), (9, 6), (10, 5), (19, 6), (20, 5)]


def test_a_busy_moment_begins_the_wait_anew() -> None:
    """Fewer must do for the whole of that time."""
    scaler = Autoscaler(TARGET)
    assert scaler.decide(0.0, running=6, in_flight=10) == 6
    assert scaler.decide(9.0, running=6, in_flight=30) == 6
    assert scaler.decide(11.0, running=6, in_flight=10) == 6
    assert scaler.decide(21.0, running=6, in_flight=10) == 5
