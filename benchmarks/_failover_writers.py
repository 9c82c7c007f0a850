"""A process of the application of ``./dev bench failover``: visitors who put one thing after the other into
their sessions, through `SessionMiddleware`, and note what they were told.

Told by lines on standard input, each of which is answered by a line of JSON: ``fault`` ends the part whose
times are measured, ``settle`` answers once every visitor has been served again, ``stop`` once nobody writes
any more, ``count URL`` looks into every session on that server and gives the report.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from benchmarks._failover_counts import Outcome, Write, tally
from scalekit.errors import BackendError, BackendTimeout
from scalekit.sessions.redis import RedisStore
from tests.sessions.shells import Answer, Reply, StarletteShell, drive_asgi, make_scope

VISITORS = 25
"""In each process."""
PAUSE = 0.2
"""Seconds between two writes of one visitor, so that a process makes 125 a second."""
STAY = 20
"""Writes until a visitor leaves and another one comes, without a session."""
PATIENCE = 60.0
"""Seconds within which everybody must be served again."""


class Writers:
    def __init__(self, store: RedisStore) -> None:
        self._app = StarletteShell(store).app
        self._writes: list[Write] = []
        self._times: list[float] = []
        self._quiet, self._stopping = True, False
        self._served = [0] * VISITORS
        self._tasks = [asyncio.create_task(self._visit(number)) for number in range(VISITORS)]

    async def _visit(self, number: int) -> None:
        await asyncio.sleep(PAUSE * number / VISITORS)
        due, attempts, cookie = time.monotonic(), 0, None
        while not self._stopping:
            attempts += 1
            if attempts % STAY == 0:
                cookie = None
            key = str(attempts)
            reply = await request(self._app, cookie, self._put(key))
            for line in reply.set_cookies:
                cookie = line.split(";")[0].partition("=")[2] or None
            self._writes.append(Write(cookie, key, outcome(reply)))
            self._served[number] += reply.status == 200
            due = max(due + PAUSE, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    def _put(self, key: str) -> Callable[[Any], Awaitable[Any]]:
        async def put(session: Any) -> Any:
            try:
                session[key] = 1
            except BackendError:
                return Answer("refused", 503)  # it could not be loaded
            begun = time.perf_counter()
            try:
                await session.save()
            except BackendTimeout:
                return Answer("unknown", 503)
            except BackendError:
                return Answer("refused", 503)
            if self._quiet:
                self._times.append((time.perf_counter() - begun) * 1000)
            return None

        return put

    async def fault(self) -> bool:
        self._quiet = False
        return True

    async def settle(self) -> bool:
        """Twice: the first answer may have been under way."""
        before, deadline = list(self._served), time.monotonic() + PATIENCE
        while any(now < then + 2 for now, then in zip(self._served, before, strict=True)):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    async def stop(self) -> bool:
        self._stopping = True
        await asyncio.gather(*self._tasks)
        return True

    async def count(self, url: str) -> dict[str, Any]:
        """Over a connection of its own: our last one may still lead to the old master, which has it all."""
        app = StarletteShell(RedisStore.from_url(url, timeout=30)).app
        cookies = {write.cookie for write in self._writes if write.cookie is not None}
        found = {cookie: (await request(app, cookie, list)).json for cookie in cookies}
        return {"counts": asdict(tally(self._writes, found)), "times": [round(ms, 3) for ms in self._times]}


async def request(app: Any, cookie: str | None, handler: Callable[[Any], Any]) -> Reply:
    header = None if cookie is None else f"session={cookie}".encode()
    return await drive_asgi(app, make_scope(header) | {"tests.handler": handler})


def outcome(reply: Reply) -> Outcome:
    if reply.status == 200:
        return "acknowledged"
    assert reply.status == 503, (reply.status, reply.body)
    return "unknown" if reply.body == b'"unknown"' else "refused"


async def main(url: str, options: str) -> None:
    logging.disable(logging.WARNING)  # that sessions cannot be loaded is what is counted
    writers = Writers(RedisStore.from_url(url, **json.loads(options)))
    orders: dict[str, Callable[..., Awaitable[Any]]] = {
        "fault": writers.fault,
        "settle": writers.settle,
        "stop": writers.stop,
        "count": writers.count,
    }
    while line := await asyncio.to_thread(sys.stdin.readline):
        order, *values = line.split()
        print(json.dumps(await orders[order](*values)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
