"""The circuit breaker: small, and right under threads."""

import threading

from scalekit._breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def make(cooldown: float = 1.0, patience: float = 2.0) -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(cooldown=cooldown, patience=patience, clock=clock), clock


def test_closed_lets_everyone_through() -> None:
    """Nothing is refused while nothing has failed."""
    breaker, _ = make()
    assert all(breaker.allows() for _ in range(3))
    assert not breaker.open


def test_a_failure_refuses_until_the_cooldown_is_over() -> None:
    """The first failure opens it; for `cooldown` seconds nobody is let through."""
    breaker, clock = make()
    breaker.failed()
    assert breaker.open
    assert not breaker.allows()
    clock.now += 0.99
    assert not breaker.allows()


def test_one_caller_probes() -> None:
    """When the cooldown is over exactly one caller goes on; the others are still refused."""
    breaker, clock = make()
    breaker.failed()
    clock.now += 1.0
    assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]


def test_a_probe_that_succeeds_closes_it() -> None:
    """One answer from the server, and everyone is let through."""
    breaker, clock = make()
    breaker.failed()
    clock.now += 1.0
    assert breaker.allows()
    breaker.succeeded()
    assert not breaker.open
    assert breaker.allows()


def test_a_probe_that_fails_starts_the_cooldown_again() -> None:
    """The next probe comes one cooldown after the failed one."""
    breaker, clock = make()
    breaker.failed()
    clock.now += 1.0
    assert breaker.allows()
    clock.now += 0.5
    breaker.failed()
    clock.now += 0.99
    assert not breaker.allows()
    clock.now += 0.01
    assert breaker.allows()


def test_a_probe_that_never_reports_does_not_keep_it_open_for_ever() -> None:
    """A prober may die; after `patience` seconds another caller may probe."""
    breaker, clock = make(cooldown=1.0, patience=2.0)
    breaker.failed()
    clock.now += 1.0
    assert breaker.allows()
    clock.now += 1.99
    assert not breaker.allows()
    clock.now += 0.01
    assert breaker.allows()


def test_early_probes_come_ever_later() -> None:
    """With `first` the waits double up to `cooldown`, however many failures are reported, and begin anew
    after a success."""
    clock = Clock()
    breaker = Breaker(cooldown=1.0, patience=2.0, first=0.25, clock=clock)
    for waits in ([0.25, 0.5, 1.0, 1.0], [0.25]):
        for wait in waits:
            for _ in range(3):
                breaker.failed()
            clock.now += wait - 0.125
            assert not breaker.allows()
            clock.now += 0.125
            assert breaker.allows()
        breaker.succeeded()


def test_threads_send_one_probe() -> None:
    """Of 32 threads that ask at the same moment one is the probe."""
    for _ in range(50):
        breaker, clock = make()
        breaker.failed()
        clock.now += 1.0
        start = threading.Barrier(32)
        answers: list[bool] = []

        def ask(
            breaker: Breaker = breaker, start: threading.Barrier = start, out: list[bool] = answers
        ) -> None:
            start.wait()
            out.append(breaker.allows())

        threads = [threading.Thread(target=ask) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(answers) == 1
