"""Slots: who gets one, and that none is ever lost."""

import itertools
import json
import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from scalekit.errors import ConfigurationError
from scalekit.metrics import Measured
from scalekit.ops import Limits, Priority, Shedding, shedding
from scalekit.ops.shedding import Slot
from tests.ops import slots


def fixed(limit: int, **options: Any) -> Shedding:
    return Shedding(
        limits=Limits(minimum=limit, initial=limit, maximum=options.pop("maximum", limit)), **options
    )


def numbers(of: Shedding) -> dict[str, Any]:
    """Its metrics: the number, or the numbers by label."""
    found: dict[str, Any] = {}
    for metric in of.metrics():
        by_label = {"".join(sample.labels.values()): sample.value for sample in metric.samples}
        found[metric.name.removeprefix("scalekit_shed_")] = by_label.get("", by_label)
    return found


def test_a_slot_each_until_they_are_out() -> None:
    """As many as the limit come in, the next does not, and one that leaves makes room for one."""
    full = fixed(3)
    first, *others = [full.enter(Priority.NORMAL) for _ in range(4)]
    assert others[2] is None
    assert full.in_flight == 3
    assert first is not None
    first.leave()
    first.leave()  # leaving twice is leaving once
    assert full.in_flight == 2
    assert full.enter(Priority.NORMAL) is not None
    assert full.enter(Priority.NORMAL) is None


@pytest.mark.usefixtures("clock")  # in a window of five seconds the limit would grow
def test_checkout_survives_when_browsing_is_shed() -> None:
    """With the limit full of normal requests low ones are turned away, normal too, critical ones come in."""
    full = fixed(10, maximum=1000)
    assert all(full.enter(Priority.LOW) for _ in range(5))
    assert full.enter(Priority.LOW) is None
    assert all(full.enter(Priority.NORMAL) for _ in range(5))
    assert full.enter(Priority.NORMAL) is None
    assert all(full.enter(Priority.CRITICAL) for _ in range(5))
    assert full.enter(Priority.CRITICAL) is None


def test_a_fixed_limit_has_room_for_checkout() -> None:
    """Where limit and maximum are one number, and where streams fill the maximum, critical requests still
    have half of it besides."""
    full = fixed(20)
    assert all(full.enter(Priority.NORMAL) for _ in range(20))
    assert full.enter(Priority.NORMAL) is None
    assert all(full.enter(Priority.CRITICAL) for _ in range(10))
    assert full.enter(Priority.CRITICAL) is None
    streaming = fixed(20)
    for _ in range(20):
        stream = streaming.enter(Priority.NORMAL)
        assert stream is not None
        stream.answered(200, endless=True)
    assert streaming.enter(Priority.NORMAL) is None
    assert all(streaming.enter(Priority.CRITICAL) for _ in range(10))
    assert streaming.enter(Priority.CRITICAL) is None


def test_metrics() -> None:
    """It reports what came in and what did not by priority, the limit, what is in flight, and the lag."""
    full = fixed(2)
    assert isinstance(full, Measured)
    for priority in (Priority.NORMAL, Priority.CRITICAL, Priority.NORMAL, Priority.LOW):
        full.enter(priority)
    full.waited(0.25)
    assert numbers(full) == {
        "admitted": {"low": 0, "normal": 1, "critical": 1},
        "requests": {"low": 1, "normal": 1, "critical": 0},
        "limit": 2,
        "in_flight": 2,
        "lag_seconds": 0.25,
    }


class Clock:
    """`time.monotonic` that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(shedding, "time", clock)
    return clock


def test_streams_leave_the_limit_to_others(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Event streams at once, and what has been answering for ten seconds, count against `maximum` alone."""
    full = fixed(2, maximum=4)
    long, events = full.enter(Priority.NORMAL), full.enter(Priority.NORMAL)
    assert long is not None
    assert events is not None
    long.answered(200)
    assert full.enter(Priority.NORMAL) is None
    events.answered(200, endless=True)
    third = full.enter(Priority.NORMAL)
    assert third is not None
    assert full.enter(Priority.NORMAL) is None
    monkeypatch.setattr(full._limit, "advance", lambda now: None)  # it would grow
    clock.now += 11
    assert full.enter(Priority.NORMAL) is not None  # the long one has become a stream
    assert full.enter(Priority.NORMAL) is None  # the third has not even begun its answer
    for slot in (third, third):
        slot.leave()
    assert full.in_flight == 3
    assert full.enter(Priority.NORMAL) is not None
    third = full.enter(Priority.NORMAL)
    assert third is None  # of four, two are streams
    for slot in (long, events):
        slot.leave()
    assert full.in_flight == 2
    assert full.enter(Priority.NORMAL) is None


def test_a_stream_teaches_nothing(clock: Clock) -> None:
    """How long a response flows, event streams and errors leave the usual latency alone."""
    server = fixed(100, maximum=1000)
    for _ in range(5):
        for status, endless, took in ((200, False, 0.05), (200, True, 5.0), (500, False, 0.001)):
            group = [server.enter(Priority.NORMAL) for _ in range(20)]
            clock.now += took
            for slot in group:
                assert slot is not None
                slot.answered(status, endless=endless)
            clock.now += 100  # of data
            for slot in group:
                assert slot is not None
                slot.answered(200)
                slot.leave()
    assert server._limit.usual == pytest.approx(0.05)


def test_handlers_that_block_are_shed_by_their_lag(clock: Clock) -> None:
    """While a queue stands, who has waited for more than a tenth of a second is turned away though nothing is
    in flight; but critical ones are not, and a single stall turns nobody away.
    """
    server = Shedding()
    assert server.enter(Priority.NORMAL, waited=3.0) is not None
    for _ in range(100):
        clock.now += 0.1
        slot = server.enter(Priority.NORMAL)
        assert slot is not None
        slot.answered(200)
        slot.leave()
        server.waited(0.5)
    assert server.enter(Priority.NORMAL, waited=0.3) is None
    assert server.enter(Priority.NORMAL, waited=0.05) is not None
    assert server.enter(Priority.CRITICAL, waited=0.3) is not None


def test_threads() -> None:
    """Threads that come and go leave nothing behind, and never are there more at once than the limit."""
    full, over = fixed(5), []

    def come_and_go() -> None:
        for _ in range(2000):
            slot = full.enter(Priority.NORMAL)
            if slot is not None:
                if full.in_flight > 5:
                    over.append(full.in_flight)
                slot.answered(200)
                slot.leave()

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (full.in_flight, over) == (0, [])
    counts = numbers(full)
    assert sum(counts["admitted"].values()) + sum(counts["requests"].values()) == 16000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_begins_with_nothing() -> None:
    """A child has nothing in flight and has counted nothing, though a thread of its parent held the lock."""
    full = fixed(1)
    slot = full.enter(Priority.NORMAL)
    assert slot is not None
    with full._lock:
        child = os.fork()
        if child == 0:
            slot.leave()  # its parent's
            right = full.in_flight == 0 and full.enter(Priority.NORMAL) is not None
            os._exit(0 if right and numbers(full)["admitted"]["normal"] == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert full.in_flight == 1


def test_nothing_leaks_in_a_hundred_thousand_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a model: any order of coming, answering, leaving, and each of them twice."""
    # By a clock of its own: how often the limit moves would be the machine's.
    ticks = itertools.count()
    monkeypatch.setattr(shedding, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 5000))
    model = slots.run(100_000, seed=1)
    assert 1000 < model.refused < model.came - 1000
    assert model.full > 50


def test_no_order_of_events_leaks() -> None:
    """Nor in an order that Hypothesis thinks of."""
    stateful = pytest.importorskip("hypothesis.stateful")
    from hypothesis import settings
    from hypothesis import strategies as st

    which, endless = st.integers(0, 20), st.booleans()

    class Machine(stateful.RuleBasedStateMachine):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = slots.Model()

        @stateful.rule(priority=st.sampled_from(slots.PRIORITIES))  # type: ignore[untyped-decorator]
        def come(self, priority: Priority) -> None:
            self.model.come(priority)

        @stateful.rule(which=which, endless=endless)  # type: ignore[untyped-decorator]
        def answer(self, which: int, endless: bool) -> None:
            self.model.answer(which, endless)

        @stateful.rule(which=which)  # type: ignore[untyped-decorator]
        def leave(self, which: int) -> None:
            self.model.leave(which)

        @stateful.rule(which=which, endless=endless)  # type: ignore[untyped-decorator]
        def come_too_late(self, which: int, endless: bool) -> None:
            self.model.come_too_late(which, endless)

        @stateful.invariant()  # type: ignore[untyped-decorator]
        def nothing_is_lost(self) -> None:
            self.model.check()

        def teardown(self) -> None:
            self.model.end()

    stateful.run_state_machine_as_test(
        Machine, settings=settings(max_examples=30, stateful_step_count=40, deadline=None)
    )


def answer(of: Shedding, accept: bytes = b"", method: str = "GET", **headers: bytes) -> Any:
    given = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return of.busy.answer(method, [(b"accept", accept), *given], http1=True)


def test_the_busy_page() -> None:
    """Browsers get the page, others a short problem; nobody keeps it, and HEAD gets its headers."""
    browser = answer(fixed(1), b"text/html,*/*;q=0.8")
    assert dict(browser.headers)[b"content-type"] == b"text/html; charset=utf-8"
    assert b"try again" in browser.body
    own = answer(fixed(1, page="<h1>Für später</h1>"), b"text/html")
    assert own.body.decode() == "<h1>Für später</h1>"
    problem = answer(fixed(1), b"application/json")
    assert dict(problem.headers)[b"content-type"] == b"application/problem+json"
    assert json.loads(problem.body)["status"] == 503
    for each in (browser, own, problem):
        headers = dict(each.headers)
        assert each.status == 503
        assert headers[b"content-length"] == str(len(each.body)).encode()
        assert headers[b"cache-control"] == b"no-store"
    head = answer(fixed(1), b"text/html", "HEAD")
    assert (head.body, dict(head.headers)[b"content-length"]) == (
        b"",
        dict(browser.headers)[b"content-length"],
    )


def test_who_was_turned_away_at_once_does_not_come_back_at_once() -> None:
    """`Retry-After` is whole seconds, anything from `retry_after` to its double."""
    busy = fixed(1, retry_after=10)
    waits = {int(dict(answer(busy).headers)[b"retry-after"]) for _ in range(500)}
    assert min(waits) >= 10
    assert max(waits) <= 20
    assert len(waits) > 5


def test_a_long_body_ends_the_connection() -> None:
    """Over HTTP/1 a body that is long, or of unknown length, is not received for nothing; a short one is."""
    for headers, closes in (
        ({}, False),
        ({"content_length": b"1000"}, False),
        ({"content_length": b"1000000"}, True),
        ({"content_length": b"9" * 30}, True),
        ({"transfer_encoding": b"chunked"}, True),
    ):
        assert ((b"connection", b"close") in answer(fixed(1), **headers).headers) is closes
    long = [(b"content-length", b"1000000")]
    assert b"connection" not in dict(fixed(1).busy.answer("POST", long, http1=False).headers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": 100}, "limits= must be the range of the limit"),
        ({"rules": ["/checkout"]}, "each of rules= must be a rule"),
        ({"rules": None}, "rules= must be a list"),
        ({"classify": Priority.LOW}, "classify= must be a function"),
        ({"page": 503}, "page= must be HTML"),
        ({"retry_after": 0}, "retry_after=0 must be"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], message: str) -> None:
    """A typical mistake is told at start-up."""
    with pytest.raises(ConfigurationError, match=message):
        Shedding(**options)


def test_slots_are_small() -> None:
    """A request in flight costs no dictionary."""
    assert not hasattr(Slot(fixed(1), 0.0), "__dict__")
