"""The queue in front of a CDN's API: what is purged, how often it is tried, and who never waits."""

import asyncio
import logging
import os
import threading
from collections.abc import Iterable
from typing import Any

import pytest

from scalekit.cdn.purge import Purged
from scalekit.cdn.purge_queue import PurgeQueue
from scalekit.errors import BackendUnavailable, ConfigurationError, PurgeRefused
from tests.cdn.purgers import AsyncRecorder, Recorder

DOWN = BackendUnavailable("the CDN is down", backend="cdn")
REFUSED = PurgeRefused("no such service", status=404)
PATIENCE = 60


@pytest.mark.parametrize("kind", [Recorder, AsyncRecorder])
def test_tags_are_purged(kind: Any) -> None:
    """By a purger of either colour, again and again."""
    purger = kind()
    queue = PurgeQueue(purger)
    for tags in (["a", "b"], ["c"]):
        queue.add(tags)
        assert queue.wait(PATIENCE)
    assert [tag for batch in purger.purged for tag in batch] == ["a", "b", "c"]
    assert queue.counts.as_dict() == {"purged": 3}


def test_nobody_waits_for_the_cdn() -> None:
    """Whoever adds goes on while it does not answer; then all that came goes along at once, each tag once."""
    purger = Recorder()
    purger.open.clear()
    queue = PurgeQueue(purger)
    queue.add(["first"])
    assert purger.asked.wait(PATIENCE)  # or what comes next might go along, and once more when it came again
    for number in range(100):
        queue.add([f"tag:{number % 10}"])
    assert not queue.wait(0)
    purger.open.set()
    assert queue.wait(PATIENCE)
    assert purger.purged == [["first"], [f"tag:{number}" for number in range(10)]]


@pytest.mark.parametrize("kind", [Recorder, AsyncRecorder])
def test_what_failed_is_tried_again(kind: Any) -> None:
    """With what has come since."""
    purger = kind(DOWN, DOWN, OSError("reset"))
    queue = PurgeQueue(purger, delay=0)
    queue.add(["a"])
    assert queue.wait(PATIENCE)
    assert purger.purged == [["a"]]
    assert queue.counts.as_dict() == {"purged": 1, "retries": 3}


def test_what_was_cancelled_is_tried_again() -> None:
    """By something in the purger; the thread goes on."""
    purger = AsyncRecorder(asyncio.CancelledError())
    queue = PurgeQueue(purger, delay=0)
    queue.add(["a"])
    assert queue.wait(PATIENCE)
    assert purger.purged == [["a"]]


@pytest.mark.parametrize(
    ("failures", "tries"), [([DOWN] * 3, 3), ([REFUSED], 1), ([DOWN, REFUSED], 2), ([ZeroDivisionError()], 1)]
)
def test_what_is_given_up_is_reported(
    failures: list[Exception], tries: int, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log and to ``on_failure``; the queue goes on."""
    told: list[Any] = []

    def on_failure(tags: list[str], error: Exception) -> None:
        told.append((tags, error))
        raise ValueError("an error of the application's")

    purger = Recorder(*failures)
    queue = PurgeQueue(purger, attempts=3, delay=0, on_failure=on_failure)
    with caplog.at_level(logging.ERROR, "scalekit.cdn"):
        queue.add(["a"])
        assert queue.wait(PATIENCE)
    assert (len(purger.tried), told) == (tries, [(["a"], failures[-1])])
    assert queue.counts["given up"] == 1
    assert "1 tags were not purged" in caplog.messages[0]
    queue.add(["b"])
    assert queue.wait(PATIENCE)
    assert purger.purged == [["b"]]


def test_each_tag_has_its_own_attempts() -> None:
    """What came while an older one was tried for the last time is not given up with it."""
    told: list[list[str]] = []
    purger = Recorder(DOWN, DOWN, DOWN)
    purge = purger.tags

    def tags(tags: Iterable[str]) -> Purged:
        if len(purger.tried) == 2:  # before the last attempt for the first
            queue.add(["late"])
        return purge(tags)

    purger.tags = tags  # type: ignore[method-assign]
    queue = PurgeQueue(purger, attempts=3, delay=0, on_failure=lambda tags, error: told.append(tags))
    purger.tried.append([])  # so that "late" goes along with the third request
    queue.add(["early"])
    assert queue.wait(PATIENCE)
    assert told == [["early"]]
    assert purger.purged == [["late"]]


def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is tried again with the next tag; what was added before goes along."""
    purger = Recorder()
    queue = PurgeQueue(purger)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError):
        queue.add(["a"])
    queue.add(["b"])
    assert queue.wait(PATIENCE)
    assert purger.purged == [["a", "b"]]


def test_wrong_options_are_refused() -> None:
    """Each with its name."""
    with pytest.raises(ConfigurationError, match="purger="):
        PurgeQueue(print)  # type: ignore[arg-type]
    for options in ({"attempts": 0}, {"delay": -1}, {"on_failure": 1}):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            PurgeQueue(Recorder(), **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="is no tag"):
        PurgeQueue(Recorder()).add(["two words"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_purges_its_own(tmp_path: Any) -> None:
    """Not what its parent was about to, which does so itself; and the parent's lock does not hold it up."""
    purger = Recorder()
    purger.open.clear()
    queue = PurgeQueue(purger)
    queue.add(["parent"])
    child = os.fork()
    if child == 0:
        # Its parent's thread may have been about to set, or to wait for, these.
        purger.asked, purger.open = threading.Event(), threading.Event()
        purger.open.set()
        queue.add(["child"])
        done = queue.wait(PATIENCE)
        os._exit(0 if done and purger.purged == [["child"]] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    purger.open.set()
    assert queue.wait(PATIENCE)
    assert purger.purged == [["parent"]]
