"""How many processes the fleet of the proof gets."""

import pytest

from examples.bigevent.autoscaler import Autoscaler, Target

TARGET = Target(in_flight=5.0, least=3, most=8, step=2, patience=10.0)


@pytest.mark.parametrize(
    ("serving", "starting", "in_flight", "wanted"),
    [
        (3, 0, 0, 3),  # never below the least
        (3, 0, 15, 3),  # just right
        (3, 0, 16, 4),
        (3, 0, 100, 5),  # a step at a time
        (3, 1, 100, 5),
        (3, 2, 100, 5),  # no more than that start at a time
        (2, 4, 100, 6),  # but none that starts is taken back
        (7, 0, 100, 8),  # never above the most
        (0, 0, 0, 3),  # all were killed
        (2, 0, 0, 3),
        (1, 2, 0, 3),
    ],
)
def test_as_many_as_the_requests_need(serving: int, starting: int, in_flight: float, wanted: int) -> None:
    """Up at once, within the bounds, a step at a time."""
    decided = Autoscaler(TARGET).decide(0.0, serving=serving, starting=starting, in_flight=in_flight)
    assert decided == wanted


def decide(scaler: Autoscaler, at: float, in_flight: float) -> int:
    """For six processes that serve."""
    return scaler.decide(at, serving=6, starting=0, in_flight=in_flight)


def test_one_goes_after_patience() -> None:
    """Down one at a time, each after fewer would have done for as long."""
    scaler = Autoscaler(TARGET)
    decisions = [(at, decide(scaler, float(at), 10)) for at in (0, 9, 10, 19, 20)]
    assert decisions == [(0, 6), (9, 6), (10, 5), (19, 6), (20, 5)]


def test_a_busy_moment_begins_the_wait_anew() -> None:
    """Fewer must do for the whole of that time."""
    scaler = Autoscaler(TARGET)
    assert decide(scaler, 0.0, 10) == 6
    assert decide(scaler, 9.0, 30) == 6
    assert decide(scaler, 11.0, 10) == 6
    assert decide(scaler, 21.0, 10) == 5
