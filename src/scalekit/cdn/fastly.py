"""Purge what Fastly holds, or a CDN that speaks like it: by URL, by surrogate key, or everything.

As its API documents it (https://www.fastly.com/documentation/reference/api/purging/): a URL by ``POST
/purge/HOST/PATH``, up to 256 keys in ``Surrogate-Key`` by ``POST /service/ID/purge``, everything by ``POST
/service/ID/purge_all``.

Rules:

* A soft purge marks what is held as stale: a CDN whose origin is down goes on with it
  (``stale-if-error``), and one that is asked a thousand times at once asks the origin once
  (``stale-while-revalidate``). Everything can be purged only hard; that is Fastly's rule.
* A key holds no space, for the header has one between keys, and is of 1,024 bytes at most.
"""

import asyncio
import http.client
import json
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import quote

from scalekit._durations import Duration, seconds
from scalekit._forks import renew_in_children
from scalekit._options import check_text
from scalekit._steps import Steps, run, run_async
from scalekit.cdn._https import Api, Response
from scalekit.cdn.purge import Patience, Purged, TryAgain, batches, split, texts
from scalekit.errors import BackendTimeout, BackendUnavailable, ConfigurationError, PurgeRefused

API = "https://api.fastly.com"
_SERVICE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEYS = 256
_KEY_BYTES = 1024
_HEADER_BYTES = 8000  # many servers take no header of more than 8 KiB

_CURES = {
    401: "is the token right? Make one with the scope purge_select, or purge_all to purge everything",
    403: "the token may not do this; it needs the scope purge_select, or purge_all to purge everything",
    404: "is the service's ID right?",
}


class _Fastly:
    """What both colours are."""

    def __init__(
        self,
        service: str,
        *,
        token: str,
        soft: bool = False,
        api: str = API,
        timeout: Duration = 10.0,
        budget: Duration = 30.0,
    ) -> None:
        check_text(token, option="token=", wanted="an API token of Fastly")
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigurationError("token= has characters that no token has; is there a line break in it?")
        check_text(service, option="service", wanted="the ID of a service, such as 'SU1Z0isxPaozGVKXdv0eY'")
        if not _SERVICE.fullmatch(service):
            raise ConfigurationError(
                f"{service!r:.80} is no ID of a service, such as 'SU1Z0isxPaozGVKXdv0eY'"
            )
        self.service, self.soft = service, soft
        self._token = token
        self._api = Api(api, timeout=seconds(timeout, name="timeout", minimum=0.001), option="api=")
        self._budget = seconds(budget, name="budget")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.service!r} at {self._api.host}>"

    def _url_requests(self, urls: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
        return [(f"/purge/{_place(url)}", self._headers()) for url in texts(urls, option="urls")]

    def _tag_requests(self, tags: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
        found = texts(tags, option="tags")
        for tag in found:
            if not tag.isascii() or len(tag) > _KEY_BYTES:
                raise ConfigurationError(
                    f"the tag {tag!r:.60} is no surrogate key: {_KEY_BYTES} bytes of ASCII at most"
                )
        groups = batches(found, cost=lambda tag: (1, len(tag) + 1), most=(_KEYS, _HEADER_BYTES))
        return [
            (f"/service/{self.service}/purge", self._headers() | {"Surrogate-Key": " ".join(group)})
            for group in groups
        ]

    def _all_requests(self) -> list[tuple[str, dict[str, str]]]:
        return [(f"/service/{self.service}/purge_all", self._headers(soft=False))]

    def _headers(self, *, soft: bool | None = None) -> dict[str, str]:
        mode = {"Fastly-Soft-Purge": "1"} if (self.soft if soft is None else soft) else {}
        return {"Fastly-Key": self._token, "Accept": "application/json", **mode}

    def _steps(
        self,
        requests: list[tuple[str, dict[str, str]]],
        *,
        patience: Patience,
        call: Callable[[Callable[[], Response]], Any],
    ) -> Steps[Purged]:
        ids: list[str] = []
        for target, headers in requests:
            response = yield from patience.insist(partial(self._exchange, target, headers, call))
            ids += _ids(response.body)
        return Purged(requests=len(requests), ids=tuple(ids))

    def _exchange(
        self, target: str, headers: dict[str, str], call: Callable[[Callable[[], Response]], Any]
    ) -> Steps[Response]:
        try:
            response: Response = yield call(partial(self._api.send, "POST", target, headers))
        except TimeoutError as error:
            raise TryAgain(
                BackendTimeout(f"{self._api.host} did not answer in time", backend="fastly")
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise TryAgain(
                BackendUnavailable(f"{self._api.host} cannot be reached: {error}", backend="fastly")
            ) from error
        if response.status == 429 or response.status >= 500:
            busy = f"{self._api.host} answered {response.status} to a purge"
            raise TryAgain(BackendUnavailable(busy, backend="fastly"), after=_seconds_to_wait(response))
        if not 200 <= response.status < 300:
            cure = f"; {_CURES[response.status]}" if response.status in _CURES else ""
            raise PurgeRefused(
                f"{self._api.host} answered {response.status} to a purge of service {self.service}{cure}",
                status=response.status,
            )
        return response


class Fastly(_Fastly):
    """Purges a Fastly service; see :class:`~scalekit.cdn.purge.Purger` for what it does.

    >>> Fastly("SU1Z0isxPaozGVKXdv0eY", token=TOKEN).tags(["product-17", "front-page"])
    Purged(requests=1, ids=('108-1391560174-974124',))

    Args:
        service: the ID of the service. A URL is purged by its host, in whichever service has that.
        token: an API token with the scope ``purge_select``; ``purge_all`` for :meth:`everything`.
        soft: mark as stale instead of removing; not for :meth:`everything`. Default ``False``.
        api: where the API is; ``http://`` is for this machine only.
        timeout: seconds or ``timedelta`` that one try may take; default 10.
        budget: seconds or ``timedelta`` within which a request is tried again; default 30.

    Raises:
        ConfigurationError: one of these is not usable.
    """

    def urls(self, urls: Iterable[str]) -> Purged:
        """Purge URLs, one request each: ``"https://www.example.com/news?page=2"``, scheme or not."""
        return self._run(self._url_requests(urls))

    def tags(self, tags: Iterable[str]) -> Purged:
        """Purge whatever was answered with one of these surrogate keys, 256 a request."""
        return self._run(self._tag_requests(tags))

    def everything(self) -> Purged:
        """Purge all that the service holds."""
        return self._run(self._all_requests())

    def _run(self, requests: list[tuple[str, dict[str, str]]]) -> Purged:
        patience = Patience(budget=self._budget, clock=time.monotonic, sleep=time.sleep)
        return run(self._steps(requests, patience=patience, call=lambda exchange: exchange()))


class AsyncFastly(_Fastly):
    """:class:`Fastly` for asynchronous code: the same options, and methods that are awaited.

    Its requests run in four threads of its own, so that a slow API keeps no other work waiting. One that was
    cancelled ends within ``timeout``, unseen.
    """

    def __init__(self, service: str, *, token: str, **options: Any) -> None:
        super().__init__(service, token=token, **options)
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        """Threads do not come along."""
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="scalekit-fastly")

    async def urls(self, urls: Iterable[str]) -> Purged:
        """See :meth:`Fastly.urls`."""
        return await self._run(self._url_requests(urls))

    async def tags(self, tags: Iterable[str]) -> Purged:
        """See :meth:`Fastly.tags`."""
        return await self._run(self._tag_requests(tags))

    async def everything(self) -> Purged:
        """See :meth:`Fastly.everything`."""
        return await self._run(self._all_requests())

    async def _run(self, requests: list[tuple[str, dict[str, str]]]) -> Purged:
        loop = asyncio.get_running_loop()
        patience = Patience(budget=self._budget, clock=time.monotonic, sleep=asyncio.sleep)
        call = partial(loop.run_in_executor, self._threads)
        return await run_async(self._steps(requests, patience=patience, call=call))


def _place(url: str) -> str:
    """Host, path and query, as they go into the path of the request."""
    parts = split(url if "//" in url else f"//{url}")
    host = parts.hostname
    if not host or "@" in parts.netloc or not host.isascii() or parts.scheme not in ("", "http", "https"):
        raise ConfigurationError(
            f"{url!r:.100} is no URL of a CDN, such as 'https://www.example.com/news'; Fastly knows no "
            "wildcards, tags are for groups of pages"
        )
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return parts.netloc + path + (f"?{query}" if query else "")


def _ids(body: bytes) -> list[str]:
    """The IDs in an answer: ``{"status": "ok", "id": "1-2"}``, or ``{"a key": "1-2"}``."""
    try:
        answer = json.loads(body)
    except ValueError:
        return []  # what speaks like Fastly may say nothing
    if not isinstance(answer, dict):
        return []
    named = [answer["id"]] if "id" in answer else [answer[key] for key in answer if key != "status"]
    return [value for value in named if isinstance(value, str)]


def _seconds_to_wait(response: Response) -> float:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
