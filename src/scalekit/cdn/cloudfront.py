"""Purge what Amazon CloudFront holds: by URL, by wildcard, by cache tag, or everything.

Each becomes an invalidation, as ``CreateInvalidation`` of CloudFront's API takes it. Needs the extra ``s3``,
and the right ``cloudfront:CreateInvalidation``; ``cloudfront:GetInvalidation`` too, to wait.

Rules:

* A distribution has up to 3,000 paths in progress, of which 15 with a wildcard; a request holds no more, and
  one that finds too many in progress is tried again.
* Each request has a name of its own (``CallerReference``), which a repetition keeps: what was taken and
  whose answer was lost is not done, and paid for, twice.
* A tag is written ``#product-17`` among the paths, and found in the header that the distribution's
  ``CacheTagConfig`` names; a distribution without one knows no tags, and says nothing.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from typing import Any, Self
from uuid import uuid4

from scalekit._amazon import (
    CLIENT_ERRORS,
    CONNECTION,
    CREDENTIALS,
    CURES,
    NO_CREDENTIALS,
    TIMEOUTS,
    Clients,
    check_endpoint,
    client,
    code_of,
    status_of,
    sync_client,
)
from scalekit._durations import Duration, seconds
from scalekit._options import check_text
from scalekit._steps import Steps, run, run_async
from scalekit.cdn._invalidation import marked, paths
from scalekit.cdn.purge import Patience, Purged, TryAgain, batches
from scalekit.errors import BackendTimeout, BackendUnavailable, ConfigurationError, PurgeRefused

_PATHS = 3000
_WILDCARDS = 15
_POLL_SECONDS = 5.0
_REGION = "us-east-1"  # CloudFront has one place; a region only has to be named

_BUSY = {"TooManyInvalidationsInProgress", "Throttling", "ThrottlingException", "TooManyRequestsException"}
_CURES = CURES | {
    "NoSuchDistribution": "is the distribution's ID right, and these credentials of its account?",
    "AccessDenied": "these credentials need the right cloudfront:CreateInvalidation, and for wait= "
    "cloudfront:GetInvalidation",
    "InvalidClientTokenId": "these credentials are not of this account",
}


class _CloudFront:
    """What both colours are."""

    def __init__(
        self,
        distribution: str,
        *,
        client: Any = None,
        wait: Duration = 0.0,
        budget: Duration = 60.0,
        **options: str | None,
    ) -> None:
        check_text(distribution, option="distribution", wanted="the ID of one, such as 'EDFDVBD6EXAMPLE'")
        check_endpoint(options.get("endpoint_url"))
        self.distribution = distribution
        self._given = client
        self._wait = seconds(wait, name="wait")
        self._budget = seconds(budget, name="budget")
        self._options: dict[str, Any] = {"region_name": _REGION, **options}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.distribution!r}>"

    def _steps(self, items: list[str], *, get: Callable[[], Any], patience: Patience) -> Steps[Purged]:
        ids: list[str] = []
        if not items:
            return Purged()
        client = yield get()
        for group in batches(
            items, cost=lambda item: (1, item.endswith("*") and item[0] == "/"), most=(_PATHS, _WILDCARDS)
        ):
            batch = {
                "Paths": {"Quantity": len(group), "Items": group},
                "CallerReference": f"scalekit-{uuid4().hex}",
            }
            call = partial(
                client.create_invalidation, DistributionId=self.distribution, InvalidationBatch=batch
            )
            answer = yield from patience.insist(partial(self._exchange, call))
            ids.append(answer["Invalidation"]["Id"])
        if self._wait:
            yield from self._until_done(client, ids, patience)
        return Purged(requests=len(ids), ids=tuple(ids))

    def _until_done(self, client: Any, ids: list[str], patience: Patience) -> Steps[None]:
        deadline = patience.clock() + self._wait
        for name in ids:
            while True:
                call = partial(client.get_invalidation, DistributionId=self.distribution, Id=name)
                answer = yield from patience.insist(partial(self._exchange, call))
                if answer["Invalidation"]["Status"].lower() == "completed":  # emulators shout it
                    break
                if patience.clock() + _POLL_SECONDS > deadline:
                    raise BackendTimeout(
                        f"invalidation {name} of {self.distribution} was taken, but is still in progress "
                        f"after {self._wait:g} seconds; give wait= more",
                        backend="cloudfront",
                    )
                yield patience.sleep(_POLL_SECONDS)

    def _exchange(self, call: Callable[[], Any]) -> Steps[dict[str, Any]]:
        try:
            answer: dict[str, Any] = yield call()
        except CREDENTIALS as error:
            raise ConfigurationError(NO_CREDENTIALS) from error
        except CLIENT_ERRORS as error:
            code = code_of(error)
            if isinstance(error, TIMEOUTS):
                raise TryAgain(
                    BackendTimeout("CloudFront did not answer in time", backend="cloudfront")
                ) from error
            if isinstance(error, CONNECTION) or code in _BUSY or status_of(error) in (429, *range(500, 600)):
                raise TryAgain(
                    BackendUnavailable(
                        f"CloudFront did not take an invalidation: {code}", backend="cloudfront"
                    )
                ) from error
            cure = f"; {_CURES[code]}" if code in _CURES else ""
            raise PurgeRefused(
                f"CloudFront refused an invalidation of distribution {self.distribution}: {code}{cure}",
                status=status_of(error),
            ) from error
        return answer


class CloudFront(_CloudFront):
    """Purges a CloudFront distribution; see :class:`~scalekit.cdn.purge.Purger` for what it does.

    >>> CloudFront("EDFDVBD6EXAMPLE").urls(["/news", "/archive/*"])
    Purged(requests=1, ids=('I2J0I21PCUYOIK',))

    Args:
        distribution: its ID.
        client: botocore's or boto3's client of ``cloudfront``; by default one is made on first use.
        wait: seconds or ``timedelta`` to wait until no edge has what was purged, some seconds usually; by
            default (0) a purge returns when CloudFront has taken it.
        budget: seconds or ``timedelta`` within which a request is tried again; default 60.
        **options: those of boto3: ``aws_access_key_id``, ``endpoint_url`` and others; by default credentials
            come from the environment, as for every AWS tool.

    Raises:
        ConfigurationError: one of these is not usable.
    """

    def __init__(self, distribution: str, **options: Any) -> None:
        super().__init__(distribution, **options)
        self._client = self._given
        self._lock = Lock()

    def urls(self, urls: Iterable[str]) -> Purged:
        """Purge URLs, or paths, 3,000 a request. ``*`` at the end means all that begin so, 15 a request."""
        return self._run(paths(urls))

    def tags(self, tags: Iterable[str]) -> Purged:
        """Purge what was answered with one of these tags; the distribution needs a ``CacheTagConfig``."""
        return self._run(marked(tags))

    def everything(self) -> Purged:
        """Purge all that the distribution holds."""
        return self._run(["/*"])

    def _run(self, items: list[str]) -> Purged:
        patience = Patience(budget=self._budget, clock=time.monotonic, sleep=time.sleep)
        return run(self._steps(items, get=self._get, patience=patience))

    def _get(self) -> Any:
        with self._lock:  # to make one takes a while, in which another thread may come
            if self._client is None:
                self._client = sync_client("cloudfront", tries=1, **self._options)
        return self._client


class AsyncCloudFront(_CloudFront):
    """:class:`CloudFront` for asynchronous code: the same options, and methods that are awaited.

    ``client`` is aiobotocore's or aioboto3's, entered. Without one, each event loop gets its own on first
    use; ``await purger.aclose()``, or ``async with``, closes it.
    """

    def __init__(self, distribution: str, **options: Any) -> None:
        super().__init__(distribution, **options)
        self._clients = Clients(self._given, partial(client, "cloudfront", tries=1, **self._options))

    async def urls(self, urls: Iterable[str]) -> Purged:
        """See :meth:`CloudFront.urls`."""
        return await self._run(paths(urls))

    async def tags(self, tags: Iterable[str]) -> Purged:
        """See :meth:`CloudFront.tags`."""
        return await self._run(marked(tags))

    async def everything(self) -> Purged:
        """See :meth:`CloudFront.everything`."""
        return await self._run(["/*"])

    async def aclose(self) -> None:
        """Close the client that the running event loop has made."""
        await self._clients.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _run(self, items: list[str]) -> Purged:
        patience = Patience(budget=self._budget, clock=time.monotonic, sleep=asyncio.sleep)
        return await run_async(self._steps(items, get=self._clients.get, patience=patience))
