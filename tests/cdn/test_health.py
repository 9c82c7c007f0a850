"""When a CDN counts as down, without a clock: every moment is given."""

import random

import pytest

from scalekit.cdn._health import Health

INTERVAL, TIMEOUT = 10.0, 2.0


def health(failures: int = 2) -> Health:
    return Health(interval=INTERVAL, timeout=TIMEOUT, failures=failures, now=0)


def test_up_until_the_first_answer() -> None:
    """A server that starts trusts its CDN until it has tried."""
    fresh = health()
    assert fresh.is_up(0)
    assert fresh.is_up(INTERVAL)
    assert not fresh.ever


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("failures", [1, 2, 4])
def test_failures_in_a_row(answered: bool, failures: int) -> None:
    """That many make it down, whether it has ever answered or not, and one success makes it up."""
    state = health(failures)
    if answered:
        state.succeeded(0)
    for number in range(failures):
        assert state.is_up(number)
        state.failed(number)
    assert not state.is_up(failures)
    state.succeeded(failures)
    assert state.is_up(failures)


def test_a_success_between() -> None:
    """Failures that are not in a row make nothing down."""
    state = health()
    for now in range(5):
        state.failed(now)
        assert state.is_up(now)
        state.succeeded(now)


def test_silence() -> None:
    """A probe that is held up itself, by a name server perhaps, cannot vouch for anything."""
    state = health()
    state.succeeded(5)
    assert state.is_up(5 + INTERVAL)
    assert not state.is_up(5.1 + INTERVAL)
    state.failed(20)
    assert state.is_up(20)


@pytest.mark.parametrize("failures", [1, 2, 3, 4])
@pytest.mark.parametrize("takes", [0.0, 0.3, TIMEOUT])
def test_a_change_is_known_within_one_interval(failures: int, takes: float) -> None:
    """Whenever it fails and however slowly, it is down within one interval, and as soon up again."""
    draw = random.Random(failures)
    for _ in range(200):
        state = health(failures)
        state.succeeded(0)
        now = changed = 0.0  # the worst moment: just after an answer
        now += state.pause(draw.uniform(0, TIMEOUT))
        while True:
            now += takes
            state.failed(now)
            if not state.is_up(now):
                break
            now += state.pause(takes)
        assert now - changed <= INTERVAL
        changed = now
        now += state.pause(takes) + TIMEOUT
        state.succeeded(now)
        assert now - changed <= INTERVAL


def test_tries_are_apart() -> None:
    """Failures that come at once are not counted at once: a server that restarts is not down."""
    state = health(3)
    state.failed(0)
    assert state.pause(0.0) == TIMEOUT
    assert state.pause(0.5) == TIMEOUT - 0.5
    assert state.pause(TIMEOUT + 1) == 0


def test_servers_do_not_ask_at_once() -> None:
    """Pauses differ, by a quarter at most."""
    pauses = {health().pause(0.0) for _ in range(100)}
    longest = INTERVAL - 2 * TIMEOUT
    assert len(pauses) > 50
    assert all(0.75 * longest <= pause <= longest for pause in pauses)
