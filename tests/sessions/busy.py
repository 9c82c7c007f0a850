"""A server process that is never idle, for `test_failover.py`: visitors who read and change their sessions.

Every visitor is logged in and counts in the session how often they came. After each answer what was found is
compared with what can have been stored:

* nobody ever finds an empty session, or somebody else's, or is given a new one;
* an answer is 200 or 503;
* what was found may be older than what was acknowledged only if replication has not carried it: such losses
  are reported, and are wrong if they go back behind a ``mark``.

Told by lines on standard input, each of which is answered by a line of JSON: ``mark`` remembers what has been
acknowledged, ``settle`` answers once every visitor has been served again, ``miss`` once one of them has been
refused, ``stop`` gives the report.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from scalekit.sessions.redis import RedisStore
from tests.sessions.shells import Reply, StarletteShell, WSGIShell, drive_asgi, make_scope

VISITORS = 6
PAUSE = 0.01  # seconds between two requests of one visitor, as the machine has other things to do
PATIENCE = 45  # seconds until somebody must have been served


class Busy:
    """One visitor who never stops clicking."""

    def __init__(self, name: str, *, rotates: bool) -> None:
        self.name, self.rotates = name, rotates
        self.cookie: str | None = None
        self.tried = self.acknowledged = self.marked = 0
        self.served = self.refused = 0
        self.lost: list[Any] = []
        self.wrong: list[Any] = []

    def click(self, session: Any) -> Any:
        found = [session.user_id, session.get("who"), session.get("count")]
        if self.cookie is None:
            session.login(self.name)
            session["who"] = self.name
        elif self.rotates and self.tried % 7 == 0:
            session.rotate()
        session["count"] = self.tried
        return found

    def see(self, reply: Reply) -> None:
        fresh = self.cookie is None
        cookies = [line.split(";")[0].partition("=")[2] for line in reply.set_cookies]
        if reply.status == 200 and not fresh:
            self._check(reply.json)
        if reply.status == 200:
            self.served += 1
            self.acknowledged = self.tried
        elif reply.status == 503:
            self.refused += 1
        if reply.status not in (200, 503) or (cookies and not fresh and not self.rotates) or "" in cookies:
            self.wrong.append([self.name, self.tried, reply.status, reply.set_cookies])
        for cookie in cookies:
            self.cookie = cookie

    def _check(self, found: Any) -> None:
        user, who, count = found
        if (user, who) != (self.name, self.name) or not self.marked <= (count or 0) < self.tried:
            self.wrong.append([self.name, self.tried, self.marked, found])
        elif count < self.acknowledged:
            self.lost.append([self.name, self.acknowledged, count])


class Threads:
    """A thread for each visitor of a WSGI application."""

    def __init__(self, store: RedisStore, visitors: list[Busy]) -> None:
        self._shell = WSGIShell(store)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(visitor,)) for visitor in visitors]
        for thread in self._threads:
            thread.start()

    def _run(self, visitor: Busy) -> None:
        while not self._stopping.wait(PAUSE):
            visitor.tried += 1
            visitor.see(self._shell.request(visitor.click, header(visitor)))

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


class Tasks:
    """A task for each visitor of an ASGI application, on one event loop."""

    def __init__(self, store: RedisStore, visitors: list[Busy]) -> None:
        self._app = StarletteShell(store).app
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(visitors)))
        self._thread.start()

    async def _main(self, visitors: list[Busy]) -> None:
        await asyncio.gather(*map(self._run, visitors))

    async def _run(self, visitor: Busy) -> None:
        while not self._stopping.is_set():
            await asyncio.sleep(PAUSE)
            visitor.tried += 1
            scope = make_scope(header(visitor)) | {"tests.handler": visitor.click}
            visitor.see(await drive_asgi(self._app, scope))

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


def header(visitor: Busy) -> bytes | None:
    return None if visitor.cookie is None else f"session={visitor.cookie}".encode()


def settle(visitors: list[Busy]) -> bool:
    """Wait until everybody has been served twice from now on: the first answer may have been under way."""
    before = [visitor.served for visitor in visitors]
    deadline = time.monotonic() + PATIENCE
    while any(visitor.served < served + 2 for visitor, served in zip(visitors, before, strict=True)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def miss(visitors: list[Busy]) -> bool:
    """Wait until somebody is refused from now on: the server is away for this process, too."""
    before = sum(visitor.refused for visitor in visitors)
    deadline = time.monotonic() + PATIENCE
    while sum(visitor.refused for visitor in visitors) == before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def mark(visitors: list[Busy]) -> bool:
    for visitor in visitors:
        visitor.marked = visitor.acknowledged
    return True


def main(url: str, prefix: str, colour: str, options: str) -> None:
    settings = json.loads(options)
    rotates = settings.pop("rotates", False)
    store = RedisStore.from_url(url, prefix=prefix, **settings)
    visitors = [Busy(f"{colour}-{number}", rotates=rotates) for number in range(VISITORS)]
    orders: dict[str, Callable[[list[Busy]], bool]] = {"mark": mark, "miss": miss, "settle": settle}
    server = Tasks(store, visitors) if colour == "async" else Threads(store, visitors)
    try:
        for line in sys.stdin:
            if line.strip() == "stop":
                break
            print(json.dumps(orders[line.strip()](visitors)), flush=True)
    finally:
        server.stop()
    print(
        json.dumps(
            {
                "served": sum(visitor.served for visitor in visitors),
                "refused": sum(visitor.refused for visitor in visitors),
                "wrong": [each for visitor in visitors for each in visitor.wrong],
                "lost": [each for visitor in visitors for each in visitor.lost],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
