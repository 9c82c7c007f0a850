"""Until when this process's memory is trusted, and who listens. A channel by hand, and a clock by hand."""

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from scalekit._steps import Steps, run
from scalekit.cache import listening
from scalekit.cache.channel import Cursor, Heard, Lost, Message
from scalekit.cache.listening import Hearing, Listener, block_of
from scalekit.errors import BackendUnavailable
from scalekit.types import Colour

START = Cursor(b"1-0", 1)
REQUEST: ContextVar[str | None] = ContextVar("REQUEST", default=None)
_WITHIN = 30.0  # seconds


class Ear:
    """What is told to the first tier, in its order."""

    def __init__(self) -> None:
        self.horizon = -math.inf
        self.told: list[Any] = []

    def drop(self, keys: set[str], tags: set[str]) -> None:
        self.told.append(("drop", keys, tags))

    def flush(self) -> None:
        self.horizon = -math.inf
        self.told.append("flush")

    def trust(self, until: float) -> None:
        self.horizon = until
        self.told.append(until)


class Script:
    """A channel that answers as it was told, and a clock that moves while it does."""

    name = "redis://somewhere"
    colour: Colour = "sync"

    def __init__(self, *answers: tuple[float, Heard | Cursor | Exception]) -> None:
        self.answers = list(answers)
        self.now = 100.0
        self.asked: list[Any] = []
        self.pauses: list[float] = []

    def position(self) -> Steps[Cursor]:
        self.asked.append("position")
        return (yield from self._answer())

    def next(self, cursor: Cursor, *, block: float) -> Steps[Heard]:
        self.asked.append(cursor)
        return (yield from self._answer())

    def close(self) -> None: ...

    def _answer(self) -> Steps[Any]:
        yield
        if not self.answers:
            raise _End
        took, answer = self.answers.pop(0)
        self.now += took
        if isinstance(answer, Exception):
            raise answer
        return answer

    def listen(self, hearing: Hearing) -> None:
        with contextlib.suppress(_End):
            run(hearing.steps(self, wanted=lambda: True, pause=self.pauses.append))


class _End(Exception):
    """There are no more answers."""


def silence(number: int = 1) -> Heard:
    return Heard(Cursor(b"%d-0" % number, number), (), True)


def say(number: int, *, complete: bool = True, **dropped: Any) -> Heard:
    return Heard(Cursor(b"%d-0" % number, number), [Message(number, **dropped)], complete)


def hear(*answers: tuple[float, Heard | Cursor | Exception]) -> tuple[Script, Ear]:
    channel, ear = Script(*answers), Ear()
    hearing = Hearing(ear, ttl=1.0, clock=lambda: channel.now)
    channel.listen(hearing)
    return channel, ear


def test_it_is_trusted_for_the_bound_after_what_is_known() -> None:
    """8. The bound counts from when the question was sent that has been answered, however long that took."""
    _, ear = hear((0.5, START), (0.25, silence()), (0.75, silence()))
    assert ear.told == ["flush", 100 + 1.0, 100.5 + 1.0, 100.75 + 1.0]


def test_what_was_dropped_is_dropped_before_it_is_trusted_again() -> None:
    """8. Tags and keys first, and then the horizon moves; what names everything empties it."""
    _, ear = hear((0, START), (0.1, say(2, keys=("k",), tags=("t", "u"))), (0.1, say(3, everything=True)))
    assert ear.told[2:] == [("drop", {"k"}, {"t", "u"}), 101.0, "flush", 101.1]


def test_half_an_answer_moves_nothing() -> None:
    """8. While there is more to be heard the horizon stays."""
    _, ear = hear((0, START), (0.1, say(2, tags=("t",), complete=False)), (0.1, say(3, tags=("u",))))
    assert ear.told[2:] == [("drop", set(), {"t"}), ("drop", set(), {"u"}), 101.1]


@pytest.mark.parametrize("loss", [Lost("gap"), BackendUnavailable("away", backend="redis")])
def test_a_loss_is_distrusted_at_once_and_flushed_before_it_is_used_again(loss: Exception) -> None:
    """16. Distrusted and emptied when it is noticed; and emptied once more when the channel is back, before
    the first trust: what was put in between may have been dropped unheard."""
    channel, ear = hear((0, START), (0, silence()), (0, loss), (0.5, loss), (0.5, Cursor(b"9-0", 9)))
    assert ear.told[3:] == ["flush", "flush", "flush", 101.5]
    assert channel.asked[2:5] == [START, "position", "position"]


def test_who_has_lost_it_waits_ever_longer(caplog: pytest.LogCaptureFixture) -> None:
    """16. Up to a second, at random, so that not all processes return at one moment. It is told once, and
    once that it is back."""
    caplog.set_level(logging.INFO, "scalekit.cache")
    gone = BackendUnavailable("away", backend="redis")
    channel, _ = hear(*[(0.0, gone)] * 9, (0, START), (0, silence()), (0, gone))
    most = [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0, 0.05]
    assert len(channel.pauses) == len(most)
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(channel.pauses, most, strict=True))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


def test_who_returns_goes_on_where_it_was() -> None:
    """16. Listening that had ended in peace is resumed after the last message, and empties nothing."""
    ear = Ear()
    first = Script((0, START), (0, say(2, tags=("t",))))
    hearing = Hearing(ear, ttl=1.0, clock=lambda: first.now)
    first.listen(hearing)
    ear.told.clear()
    later = Script((0.1, say(3, tags=("u",))))
    later.listen(hearing)
    assert later.asked[0] == Cursor(b"2-0", 2)
    assert ear.told == [("drop", set(), {"u"}), 101.0]


def test_a_crowd_of_messages_is_gathered() -> None:
    """Messages that follow each other within milliseconds are gathered, a millisecond at a time."""
    channel, _ = hear((0, START), (0.1, say(2)), (0.001, say(3)), (0.001, say(4)), (0.1, say(5)))
    assert channel.pauses == [0.001, 0.001]


class Endless:
    """A channel on which nothing is said, and that tells who waits."""

    name = "redis://somewhere"

    def __init__(self, colour: Colour, wait: float = 0.005) -> None:
        self.colour: Colour = colour
        self.wait = wait
        self.waits: list[object] = []
        self.requests: set[str | None] = set()
        self.closed = threading.Event()
        self.heard = threading.Event()
        """Ends the wait of a thread."""

    def position(self) -> Steps[Cursor]:
        yield
        return START

    def next(self, cursor: Cursor, *, block: float) -> Steps[Heard]:
        self.waits.append(threading.current_thread() if self.colour == "sync" else asyncio.current_task())
        self.requests.add(REQUEST.get())
        yield self.heard.wait(self.wait) if self.colour == "sync" else asyncio.sleep(self.wait)
        if self.closed.is_set():
            raise BackendUnavailable("the client was closed", backend="redis")
        return silence()

    def close(self) -> None:
        self.closed.set()
        self.heard.set()


def until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + _WITHIN
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.002)


async def until_async(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(_WITHIN):
        while not condition():
            await asyncio.sleep(0.002)


def test_one_thread_listens_for_all(caplog: pytest.LogCaptureFixture) -> None:
    """One daemon, whoever uses the tier; stopped it ends without a word, and use begins it again."""
    channel, ear = Endless("sync"), Ear()
    listener = Listener(ear, channel, ttl=60.0, hits=lambda: 0, owner=channel)
    users = [threading.Thread(target=listener.use) for _ in range(8)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    until(lambda: len(channel.waits) > 2)
    (thread,) = set(channel.waits)
    assert isinstance(thread, threading.Thread)
    assert thread.daemon
    listener.stop()
    until(lambda: not thread.is_alive())
    assert ear.told.count("flush") == 1
    assert not caplog.records
    channel.closed.clear()
    channel.heard.clear()
    listener.use()
    until(lambda: set(channel.waits) != {thread})
    listener.stop()


def test_who_waits_for_a_message_is_stopped() -> None:
    """Closing ends the wait of a task, which nothing else would. A thread ends its own, and closes then."""
    channel = Endless("sync", wait=2 * _WITHIN)
    listener = Listener(Ear(), channel, ttl=60.0, hits=lambda: 0, owner=channel)
    listener.use()
    until(lambda: channel.waits)
    (thread,) = channel.waits
    listener.stop()
    assert not channel.closed.is_set()
    assert isinstance(thread, threading.Thread)
    channel.heard.set()
    until(lambda: not thread.is_alive())
    assert channel.closed.is_set()

    async def in_a_task() -> None:
        channel = Endless("async", wait=2 * _WITHIN)
        listener = Listener(Ear(), channel, ttl=60.0, hits=lambda: 0, owner=channel)
        listener.use()
        await until_async(lambda: channel.waits)
        (task,) = channel.waits
        listener.stop()
        assert isinstance(task, asyncio.Task)
        await until_async(task.done)

    asyncio.run(in_a_task())


def test_it_listens_while_the_tier_answers() -> None:
    """Unused for a minute it ends. Answers from the tier are use, too, though nobody calls for them."""
    channel, hits, now = Endless("sync"), 0, 0.0
    listener = Listener(Ear(), channel, ttl=60.0, hits=lambda: hits, owner=channel)
    listener._clock = lambda: now

    def listens(times: int = 3) -> None:
        before = len(channel.waits)
        until(lambda: len(channel.waits) >= before + times)

    listener.use()
    for _ in range(5):
        listens()
        hits += 1
        now += listening.IDLE - 1
    listens()
    (thread,) = set(channel.waits)
    assert isinstance(thread, threading.Thread)

    def has_ended() -> bool:
        nonlocal now
        now += listening.IDLE  # twice, for the last answer may not have been counted
        return not thread.is_alive()

    until(has_ended)
    listener.use()
    until(lambda: set(channel.waits) != {thread})
    listener.stop()


async def test_a_task_listens_where_only_loops_can() -> None:
    """With an asynchronous client: one task; not in the context of the caller that started it."""
    channel, ear = Endless("async"), Ear()
    listener = Listener(ear, channel, ttl=60.0, hits=lambda: 0, owner=channel)
    REQUEST.set("the first one")
    for _ in range(8):
        listener.use()
    await until_async(lambda: len(channel.waits) > 2)
    (task,) = set(channel.waits)
    assert isinstance(task, asyncio.Task)
    assert channel.requests == {None}
    listener.stop()
    await until_async(task.done)


def test_another_loop_takes_over() -> None:
    """A loop that has ended, or just stands still, listens no more: the next one that uses the tier does,
    once its horizon has passed. Two that run have one listener."""
    channel, ear = Endless("async"), Ear()
    listener = Listener(ear, channel, ttl=60.0, hits=lambda: 0, owner=channel)

    async def use(expected: int) -> None:
        listener.use()
        before = len(channel.waits)
        await until_async(lambda: len(channel.waits) > before + 1)
        assert len(set(channel.waits)) == expected

    still = asyncio.new_event_loop()
    still.run_until_complete(use(1))
    ear.horizon = -math.inf  # as time would
    asyncio.run(use(2))  # which cancels the task at its end
    ear.horizon = -math.inf
    asyncio.run(use(3))
    assert ear.told.count("flush") == 1  # it went on where it was
    told = len(ear.told)

    async def alone() -> None:
        await until_async(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    still.run_until_complete(alone())  # the first one is not wanted any more
    assert len(ear.told) == told
    still.close()


def test_a_cache_that_is_dropped_is_not_kept_right() -> None:
    """Without being closed: its thread ends, and closes the channel."""
    channel, owner = Endless("sync"), Ear()
    listener = Listener(Ear(), channel, ttl=60.0, hits=lambda: 0, owner=owner)
    listener.use()
    until(lambda: channel.waits)
    (thread,) = set(channel.waits)
    assert isinstance(thread, threading.Thread)
    del owner
    until(lambda: not thread.is_alive())
    assert channel.closed.is_set()


def test_a_child_listens_for_itself() -> None:
    """After a fork there is no thread, and what its tier has heard is nobody's to say: it begins anew."""
    channel, ear = Endless("sync"), Ear()
    listener = Listener(ear, channel, ttl=60.0, hits=lambda: 0, owner=channel)
    listener.use()
    until(lambda: channel.waits)
    parent = listener._run
    assert parent is not None
    listener.forked()  # what renew_in_children has every child call
    parent.over.set()
    ear.told.clear()
    listener.use()
    until(lambda: ear.told)
    assert ear.told[0] == "flush"
    listener.stop()


def test_how_often_it_asks() -> None:
    """8. Four times in the bound, so that it moves on in time; once a second at least, 40 times at most."""
    assert [block_of(bound) for bound in (0.4, 1.0, 60.0, 0.01)] == [0.1, 0.25, 1.0, 0.025]
