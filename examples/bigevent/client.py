"""HTTP as a visitor's browser speaks it: cookies, patience, and another try. Everything is counted.

aiohttp, because its parser is in C: the visitors share two processors with what they visit.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from examples.bigevent.history import Failure, Outcome

REFUSED = "connection refused"
CLOSED = "closed"
TIMEOUT = "time-out"
WRONG = "wrong content"


@dataclass
class Traffic:
    """All requests of a run: each attempt is one.

    Args:
        times: when each ended that was answered well, and how many milliseconds that took.
        failures: all others.
    """

    times: list[tuple[float, float]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.times) + len(self.failures)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request, after all its attempts."""

    outcome: Outcome
    began: float
    ended: float
    doubt: bool
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body) if self.outcome == "done" else {}


class Browser:
    """One visitor's browser.

    Args:
        http: shared by all; its own cookie jar is not used.
        front: address of the shop.
        traffic: where requests are counted.
        until: when a visitor gives up trying again, in seconds of ``time.monotonic``.
        patience: for how many seconds a visitor tries again before that.
        agent: what it calls itself. All come from one address: without a name for each they were one client,
            and read from one replica.

    Attributes:
        until: as it was given; may be moved.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        *,
        front: str,
        traffic: Traffic,
        until: float,
        patience: float = 30.0,
        agent: str = "a browser",
    ) -> None:
        self._http, self._front, self._traffic = http, front, traffic
        self.until, self._patience, self._agent = until, patience, agent
        self._cookies: dict[str, str] = {}

    async def ask(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] = {},
        body: Callable[[], Any] | None = None,
        label: str = "",
        fits: Callable[[bytes], bool] | None = None,
    ) -> Answer:
        """Send a request until it is answered, or patience ends.

        Args:
            target: a path of the shop, or the address of an asset.
            body: makes the body, anew for each attempt.
            label: put before the cause of a failure.
            fits: whether the content is of the kind that was asked for; any is by default.
        """
        url = target if "://" in target else self._front + target
        began, doubt = time.monotonic(), False
        give_up = min(began + self._patience, self.until)
        while True:
            status, content = await self._attempt(method, url, headers, body, label, fits)
            ended = time.monotonic()
            if 0 < status < 500:
                outcomes: dict[int, Outcome] = {401: "anonymous", 404: "missing"}
                outcome = outcomes.get(status, "done" if status < 300 else "unclear")
                return Answer(outcome, began, ended, doubt, content)
            if ended > give_up or label:
                return Answer("unclear", began, ended, True, b"")
            doubt = True
            await asyncio.sleep(random.uniform(0.1, 0.4))

    async def _attempt(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Callable[[], Any] | None,
        label: str,
        fits: Callable[[bytes], bool] | None,
    ) -> tuple[int, bytes]:
        """The status and the content; 0 and nothing where there is no answer, or none to go by."""
        own = url.startswith(self._front)
        sent = {"user-agent": self._agent, **headers}
        if own and self._cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        began, server = time.monotonic(), 0
        try:
            async with self._http.request(
                method, url, headers=sent, data=body() if body else None, allow_redirects=False
            ) as answer:
                server = _port(answer.headers.get("X-Server", ""))  # who cuts the rest off has said who it is
                content = await answer.read()
        except aiohttp.ClientConnectorError:
            return self._failed(label + REFUSED)
        except TimeoutError:
            return self._failed(label + TIMEOUT, server)
        except (aiohttp.ClientError, OSError):
            return self._failed(label + CLOSED, server)
        ended = time.monotonic()
        if own:
            for name, morsel in answer.cookies.items():
                self._cookies[name] = morsel.value
        # The shop sends nobody elsewhere, and each visitor asks for what is theirs: 302, 401, 404 fail, too.
        if not 200 <= answer.status < 300:
            return self._failed(f"{label}{answer.status}", server, answer.status, content)
        if fits is not None and not fits(content):
            return self._failed(label + WRONG, server)
        self._traffic.times.append((ended, (ended - began) * 1000))
        return answer.status, content

    def _failed(
        self, cause: str, server: int = 0, status: int = 0, content: bytes = b""
    ) -> tuple[int, bytes]:
        self._traffic.failures.append(Failure(time.monotonic(), cause, server))
        return status, content


def _port(servers: str) -> int:
    """Of the last one that nginx asked; 0 where it asked nobody, and says the name of the group."""
    port = servers.rpartition(":")[2]
    return int(port) if port.isdigit() else 0
