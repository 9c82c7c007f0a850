"""Purges that nobody waits for: a queue in front of a CDN's API, which may be slow or down.

Rules:

* Who adds a tag goes on at once; one thread, started with the first tag, asks the CDN. It takes either colour
  of purger, an asynchronous one on a loop of its own, and one request at a time.
* What is added meanwhile goes along with the next request, each tag once.
* What failed is asked for again, with what came since, after 1, 2, 4 seconds and so on: beyond what the
  purger has tried by itself. What the CDN refuses for good, and each tag that has failed ``attempts`` times,
  is reported and given up: it is in the CDN until its time is over.
* What is still in the queue when the process ends is lost. :meth:`PurgeQueue.wait` before that.
"""

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypedDict

from scalekit._durations import Duration, seconds
from scalekit._forks import renew_in_children
from scalekit._options import check_count, check_function, check_kind
from scalekit.cdn._cache_tags import check_tag
from scalekit.cdn._counts import Counts
from scalekit.cdn._reported import of_purges
from scalekit.cdn.purge import AsyncPurger, Purger
from scalekit.errors import BackendError, BackendUnavailable
from scalekit.metrics import Metric, gauge

_log = logging.getLogger("scalekit.cdn")


class QueueOptions(TypedDict, total=False):
    """The options of :class:`PurgeQueue`, where they are passed on."""

    attempts: int
    delay: Duration
    on_failure: Callable[[list[str], Exception], object] | None


class PurgeQueue:
    """Purges tags in the background.

    Args:
        purger: of either colour.
        attempts: how often it is asked for one tag.
        delay: seconds before the second attempt; twice as long before each one that follows, up to the last
            one of a tag.
        on_failure: called, in the thread of the queue, with the tags that are given up and the error.

    Attributes:
        counts: ``"purged"`` and ``"given up"`` tags, ``"retries"``.

    Raises:
        ConfigurationError: an option is wrong.
    """

    def __init__(
        self,
        purger: Purger | AsyncPurger,
        *,
        attempts: int = 6,
        delay: Duration = 1.0,
        on_failure: Callable[[list[str], Exception], object] | None = None,
    ) -> None:
        check_kind(purger, Purger, option="purger=", wanted="a Purger, such as Fastly(...)")
        if on_failure is not None:
            check_function(on_failure, option="on_failure=", wanted="a function of the tags and the error")
        self._attempts = check_count(attempts, option="attempts=", least=1, cure="1 asks once")
        self._delay = seconds(delay, name="delay")
        self._purger, self._on_failure = purger, on_failure
        self.counts = Counts()
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        """Begin anew, in a child: what is waiting is the parent's to purge."""
        self._changed = threading.Condition()
        self._waiting: dict[str, int] = {}  # in their order, each once, with how often it has failed
        self._asked: dict[str, int] = {}
        self._thread: threading.Thread | None = None

    def add(self, tags: Iterable[str]) -> None:
        """Have these tags purged; returns at once.

        Raises:
            ConfigurationError: one is no tag.
        """
        found = {check_tag(tag): 0 for tag in tags}
        with self._changed:
            self._waiting |= found
            if found and self._thread is None:
                thread = threading.Thread(target=self._run, name="scalekit-purges", daemon=True)
                thread.start()
                self._thread = thread  # now: where none can be started, the next tag tries again
            self._changed.notify_all()

    def metrics(self) -> Iterator[Metric]:
        """The same as :attr:`counts`, and how many wait; see :class:`scalekit.metrics.Measured`."""
        yield from of_purges(self.counts.as_dict())
        waiting = len(self._waiting) + len(self._asked)
        yield gauge("scalekit_cdn_purges_waiting", "Tags that are to be purged.", waiting)

    def wait(self, timeout: Duration = 10.0) -> bool:
        """Wait until all that was added is purged, or given up, for ``timeout`` seconds at most. It blocks:
        in a coroutine, ``await asyncio.to_thread(queue.wait)``.

        Returns:
            Whether the queue is empty.
        """
        limit = seconds(timeout, name="timeout")
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._asked, limit)

    def _run(self) -> None:
        failed = 0
        with asyncio.Runner() as runner:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: bool(self._waiting))
                    self._asked, self._waiting = self._waiting, {}
                failed = self._ask(runner, failed)

    def _ask(self, runner: asyncio.Runner, failed: int) -> int:
        """One request for all there is; how often that has failed in a row."""
        tags = list(self._asked)
        again: dict[str, int] = {}
        try:
            self._purge(runner, tags)
        except Exception as error:  # noqa: BLE001  the purger may be anybody's, and the thread goes on
            failed += 1
            if isinstance(error, BackendError | OSError):
                # Each tag is counted by itself: what came a moment ago has its attempts before it.
                again = {tag: count + 1 for tag, count in self._asked.items() if count + 1 < self._attempts}
            if len(again) < len(tags):
                self._give_up([tag for tag in tags if tag not in again], error)
            if again:
                self.counts.add("retries")
                _log.warning("purging %d tags failed, to be tried again: %s", len(again), error)
                time.sleep(self._delay * 2 ** (min(failed, self._attempts - 1) - 1))
        else:
            failed = 0
            self.counts.add("purged", len(tags))
        with self._changed:
            # What was added meanwhile has changed anew, and is counted anew.
            self._waiting = again | self._waiting
            self._asked = {}
            self._changed.notify_all()
        return failed if again else 0

    def _purge(self, runner: asyncio.Runner, tags: list[str]) -> None:
        answer: Any = self._purger.tags(tags)
        if inspect.isawaitable(answer):

            async def awaited() -> None:
                await answer

            try:
                runner.run(awaited())
            except asyncio.CancelledError as error:  # by the purger itself; it would end the thread
                raise BackendUnavailable("the purge was cancelled", backend="cdn") from error

    def _give_up(self, tags: list[str], error: Exception) -> None:
        self.counts.add("given up", len(tags))
        shown = ", ".join(tags[:10]) + (", ..." if len(tags) > 10 else "")
        _log.error(
            "%d tags were not purged; what has them is in the CDN until its time is over (%s): %s",
            len(tags),
            shown,
            error,
        )
        if self._on_failure is not None:
            try:
                self._on_failure(tags, error)
            except Exception:  # noqa: BLE001  the application's
                _log.exception("on_failure= of the PurgeQueue has failed")
