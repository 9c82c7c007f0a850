"""Take what has changed out of a CDN's caches: one contract, whoever runs the CDN.

====================================================  ==================================================
:class:`Purger`, :class:`AsyncPurger`                  the contract, in its two colours
``scalekit.cdn.fastly.Fastly``, ``AsyncFastly``        Fastly, and what speaks like it
``scalekit.cdn.cloudfront.CloudFront``, its twin       Amazon CloudFront; needs the extra ``s3``
====================================================  ==================================================

Rules:

* Purging twice is purging once, so what failed in between is asked for again, with what the CDN takes for the
  same request: no answer, 429 and 5xx are tried until ``budget`` seconds have passed. Any other refusal is
  final, and raised at once.
* Hashed files are never purged: new content has a new name. This is for pages, and for what has no hash.
* A token goes into one header and nowhere else: not into an error, a log or a ``repr``.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable
from urllib.parse import SplitResult, urlsplit

from scalekit._options import check_items
from scalekit._steps import Steps
from scalekit.errors import BackendError, ConfigurationError

T = TypeVar("T")

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Purged:
    """What a CDN was asked for.

    Args:
        requests: how many requests it took, tries that failed not counted; 0 when there was nothing to purge.
        ids: what the CDN calls them, where it names them: ask its support, or its API, by these.
    """

    requests: int = 0
    ids: tuple[str, ...] = ()


@runtime_checkable
class Purger(Protocol):
    """What purges, for synchronous code. Every method returns when the CDN has taken the request.

    Raises:
        PurgeRefused: the CDN will not do it.
        BackendUnavailable: it could not be reached, or had no time, within the budget.
        BackendTimeout: it did not answer within the budget; it may have purged.
    """

    def urls(self, urls: Iterable[str]) -> Purged:
        """Purge URLs, such as ``"https://cdn.example.com/news"``."""
        ...

    def tags(self, tags: Iterable[str]) -> Purged:
        """Purge whatever was answered with one of these tags (``Surrogate-Key``, ``Cache-Tag``)."""
        ...

    def everything(self) -> Purged:
        """Purge all that the service, or distribution, holds."""
        ...


@runtime_checkable
class AsyncPurger(Protocol):
    """The same, for asynchronous code: :class:`Purger` whose methods are awaited."""

    async def urls(self, urls: Iterable[str]) -> Purged: ...

    async def tags(self, tags: Iterable[str]) -> Purged: ...

    async def everything(self) -> Purged: ...


class TryAgain(Exception):
    """An exchange failed in a way that may pass.

    Args:
        error: what to raise when the budget is used up.
        after: seconds that the CDN asked to wait.
    """

    def __init__(self, error: BackendError, *, after: float = 0.0) -> None:
        self.error, self.after = error, after
        super().__init__(str(error))


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long, and with which clock, an exchange is tried again.

    Args:
        budget: seconds from the first try to the last one that may begin.
        clock: seconds, as ``time.monotonic`` gives them.
        sleep: ``time.sleep`` or ``asyncio.sleep``.
    """

    budget: float
    clock: Callable[[], float]
    sleep: Callable[[float], Any]

    def insist(self, exchange: Callable[[], Steps[T]]) -> Steps[T]:
        """What ``exchange`` returns, at last. It raises :class:`TryAgain` where it may be tried again."""
        deadline = self.clock() + self.budget
        pause = _FIRST_PAUSE
        while True:
            try:
                return (yield from exchange())
            except TryAgain as failed:
                # Not all at one moment: every server of a fleet may have failed at the same one.
                wait = max(failed.after, pause * random.uniform(0.5, 1.0))  # noqa: S311  no secret
                if self.clock() + wait > deadline:
                    raise failed.error from failed.__cause__
            pause = min(pause * 2, _LONGEST_PAUSE)
            yield self.sleep(wait)


def texts(values: Iterable[str], *, option: str) -> list[str]:
    """What is to be purged, each once, in the order that it was given in.

    Raises:
        ConfigurationError: no list, or something in it that is no text, is empty or has a line break.
    """
    found = list(dict.fromkeys(check_items(values, option=option)))
    for value in found:
        if (
            not isinstance(value, str)
            or not value
            or any(ord(char) < 33 or ord(char) == 127 for char in value)
        ):
            raise ConfigurationError(
                f"{option} has {value!r:.60}, which has spaces or control characters, or is no text or empty"
            )
    return found


def split(url: str) -> SplitResult:
    """The parts of a URL.

    Raises:
        ConfigurationError: it has none.
    """
    try:
        return urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"{url!r:.100} is no URL: {error}") from error


def batches(
    values: list[str], *, cost: Callable[[str], tuple[int, int]], most: tuple[int, int]
) -> Iterable[list[str]]:
    """``values`` in groups that cost ``most`` at most, by either of two counts; no group is empty."""
    batch: list[str] = []
    first = second = 0
    for value in values:
        one, other = cost(value)
        if batch and (first + one > most[0] or second + other > most[1]):
            yield batch
            batch, first, second = [], 0, 0
        batch.append(value)
        first, second = first + one, second + other
    if batch:
        yield batch
