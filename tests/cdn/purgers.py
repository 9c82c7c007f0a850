"""Purgers that keep what they are asked for, and fail when they are told to."""

import threading
from collections.abc import Iterable

from scalekit.cdn.purge import Purged


class Recorder:
    """A CDN's API, for synchronous code.

    Args:
        failures: what it raises, in turn, before it works.
    """

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.purged: list[list[str]] = []
        self.tried: list[list[str]] = []
        self.asked = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def tags(self, tags: Iterable[str]) -> Purged:
        self.asked.set()
        assert self.open.wait(60)
        self.tried.append(list(tags))
        if self.failures:
            raise self.failures.pop(0)
        self.purged.append(self.tried[-1])
        return Purged(requests=1)

    def urls(self, urls: Iterable[str]) -> Purged:
        raise NotImplementedError

    def everything(self) -> Purged:
        raise NotImplementedError


class AsyncRecorder:
    """The same, for asynchronous code."""

    def __init__(self, *failures: BaseException) -> None:
        self._inner = Recorder(*failures)
        self.purged = self._inner.purged

    async def tags(self, tags: Iterable[str]) -> Purged:
        return self._inner.tags(tags)

    async def urls(self, urls: Iterable[str]) -> Purged:
        raise NotImplementedError

    async def everything(self) -> Purged:
        raise NotImplementedError
