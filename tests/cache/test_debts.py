"""What is owed to a back end that was away, and when it is not believed: without one."""

import logging
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import pytest

from scalekit._steps import Steps, run
from scalekit.cache import Cache
from scalekit.cache.debts import CALM, EVERYTHING, MOST, OUTAGE, Debts, Outage
from scalekit.cache.memory import MemoryBackend
from scalekit.errors import BackendUnavailable

AWAY = BackendUnavailable("memory: away", backend="memory")


def test_what_is_owed_once_more_meanwhile_still_is() -> None:
    """15. A tag that is dropped again while the first drop is under way may have come too late for it."""
    debts = Debts()
    debts.owe(keys=["k"], tags=["a", "b"])
    keys, tags = debts.copy()
    debts.owe(tags=["b"])
    debts.paid((keys, tags))
    assert not debts.concern("k", ["a", "other"])
    assert debts.concern("k", ["other", "b"])
    assert debts
    debts.paid(debts.copy())
    assert not debts


@pytest.mark.parametrize("line", [1, 2])
def test_nothing_is_believed_while_names_become_everything(line: int) -> None:
    """15. What is owed is owed at every moment, also while another thread drops the names for everything."""
    debts, lines = Debts(), 0
    debts.owe(keys=["k"], tags=[f"t{number}" for number in range(MOST)])

    def on_line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if event == "line":
            lines += 1
            if lines == line:
                sys.settrace(None)
                debts.failed()
        return on_line

    def on_call(frame: FrameType, event: str, _: Any) -> Any:
        return on_line if frame.f_code is Debts.concern.__code__ else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        assert debts.concern("k", ["other"])
    finally:
        sys.settrace(before)
    debts.failed()
    assert debts.copy()[0] == {}


def test_one_at_a_time_makes_up_for_it() -> None:
    """However many reads and invalidations find that something is owed."""
    debts = Debts()
    assert not debts.begin()
    debts.owe(keys=["k"])
    assert not debts.begin()  # who owes it is at it
    debts.failed()
    assert [debts.begin(), debts.begin()] == [True, False]
    assert debts.go_on()
    debts.paid(debts.copy())
    assert not debts.go_on()
    debts.owe(keys=["k"])
    assert not debts.begin()
    debts.failed()
    assert debts.begin()


def test_a_child_starts_with_nobody_at_it() -> None:
    """After fork() the thread that was to pay is the parent's alone; what is owed is owed by both."""
    debts = Debts()
    debts.owe(keys=["k"])
    debts.failed()
    assert debts.begin()
    debts.forked()
    assert debts.begin()


class Away(MemoryBackend):
    """A back end that can be told nothing, while it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = True
        self.named: list[Sequence[str]] = []

    def drop(self, keys: Sequence[str]) -> Steps[None]:
        self.named.append(keys)
        return self._refused() if self.away else super().drop(keys)

    def _refused(self) -> Steps[None]:
        yield from ()
        raise BackendUnavailable("away", backend="test")


def test_an_hour_of_debts_is_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """15. So many names are kept; of more, nothing that is there is believed, and one new generation pays.

    That is for what could not be told: to drop many keys drops these.
    """
    backend = Away()
    cache = Cache(backend)
    debts = cache._core.invalidation.debts
    monkeypatch.setattr(cache._core.runtimes["sync"], "background", lambda steps, name: None)

    @cache.query(ttl=60)
    def answer(number: int) -> int:
        return number

    assert answer(-1) == -1
    for number in range(MOST + 1):
        assert len(debts.copy()[0]) == number
        with pytest.raises(BackendUnavailable):
            answer.invalidate(number)
    keys, tags = debts.copy()
    assert (keys, list(tags)) == ({}, [EVERYTHING])
    backend.away, computed = False, cache.stats().computes
    assert answer(-1) == -1
    assert cache.stats().computes == computed + 1
    assert not debts
    debts.owe(keys=[str(number) for number in range(MOST + 1)])
    assert len(debts.copy()[0]) == MOST + 1


def test_an_invalidation_is_about_its_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """13. Not about those of others that are under way, or a hundred at once would name five thousand."""
    backend, begun = Away(), []
    backend.away = False
    cache = Cache(backend)
    monkeypatch.setattr(cache._core.runtimes["sync"], "background", lambda steps, name: begun.append(name))
    invalidation, via = cache._core.invalidation, cache._via("sync")
    invalidation.debts.owe(keys=["another's"])
    run(invalidation.drop(via, keys={"own"}, tags=set()))
    assert backend.named == [["own"]]
    assert [invalidation.debts.concern(key, []) for key in ("own", "another's")] == [False, True]
    assert begun == []


def test_an_outage_is_longer_than_a_hiccup() -> None:
    """15. From the first failure to the last, a second, with no answer in between; it ends with an answer."""
    now = 100.0
    outage = Outage(clock=lambda: now)
    assert outage.seconds() is None
    outage.failed(AWAY)
    now += OUTAGE - 0.01
    outage.failed(AWAY)
    assert outage.seconds() is None
    now += 0.01
    outage.failed(AWAY)
    now += 5
    assert outage.seconds() == OUTAGE + 5
    outage.answered()
    assert outage.seconds() is None
    outage.failed(AWAY)
    assert outage.seconds() is None


def test_an_outage_may_end_while_somebody_asks() -> None:
    """15. Another thread has its answer just then: that is no error for who reads."""
    now, ends = 100.0, False

    def clock() -> float:
        nonlocal ends
        if ends:
            ends = False
            outage.answered()
        return now

    outage = Outage(clock=clock)
    outage.failed(AWAY)
    now += OUTAGE
    outage.failed(AWAY)
    ends = True
    assert outage.seconds() == OUTAGE
    assert outage.seconds() is None


def test_each_server_has_its_own_outage() -> None:
    """15. What the others answer says nothing of one that is away; who had no part in an answer is named."""
    now = 100.0
    outage = Outage(clock=lambda: now)
    for _ in range(2):
        outage.failed(BackendUnavailable("a: away", backend="a"))
        outage.answered(elsewhere={"a", "c"})
        outage.failed(BackendUnavailable("b: away", backend="b"))
        now += OUTAGE
    assert outage.seconds() == outage.seconds({"b"}) == 2 * OUTAGE
    assert outage.seconds({"a"}) is None  # b has failed twice, and answered the second time
    outage.answered(elsewhere={"a"})
    assert outage.seconds() == 2 * OUTAGE
    outage.answered(elsewhere={"b"})
    assert outage.seconds() is None
    assert not outage.began


def test_a_part_that_is_away_is_not_said_to_be_back(caplog: pytest.LogCaptureFixture) -> None:
    """14. However long the others have answered: what it has is not to be had."""
    caplog.set_level(logging.INFO, logger="scalekit.cache")
    now = 100.0
    outage = Outage(clock=lambda: now)
    outage.failed(AWAY)
    now += 2 * CALM
    outage.answered(elsewhere={"memory"})
    assert len(caplog.messages) == 1
    outage.answered(elsewhere={"another"})
    assert caplog.messages[1:] == ["memory: the cache's back end is back"]
    assert outage.is_over


def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """14. Not for each call, nor for each answer of a back end that fails now and then."""
    caplog.set_level(logging.INFO, logger="scalekit.cache")
    now = 100.0
    outage = Outage(clock=lambda: now)
    for _ in range(3):
        outage.answered()
        outage.failed(AWAY)
        now += CALM / 2
    outage.answered()
    assert caplog.messages == ["queries run without the cache until its back end answers: memory: away"]
    now += CALM / 2
    for _ in range(2):
        outage.answered()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.messages[1] == "memory: the cache's back end is back"
    outage.failed(AWAY)
    assert len(caplog.messages) == 3
