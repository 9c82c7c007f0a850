"""Sessions under ASGI, without a server around them, so that what is measured is the session.

The contenders and the floor are in `_session_apps`. For requests that leave the session alone, what the bare
application takes is taken off; there is no floor then but nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from benchmarks._session_apps import CONTENDERS, SERVER_SIDE, SIGNED_COOKIE, App, cookies_of
from benchmarks.harness import Case, Contender
from tests.servers import RedisServer


async def receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def check(message: Any) -> None:
    assert message.get("status", 200) == 200


def scope(path: str, cookie: str | None = None) -> dict[str, Any]:
    headers = [(b"host", b"shop"), (b"accept", b"*/*"), (b"user-agent", b"bench")]
    if cookie is not None:
        headers.append((b"cookie", cookie.encode()))
    return {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": headers,
    }


async def fill(app: App) -> str | None:
    """Start a session; the cookie it gets."""
    started: list[Any] = []

    async def note(message: Any) -> None:
        started.append(message)

    await app(scope("/fill"), receive, note)
    return cookies_of(started[0]["headers"])


def requests(app: App, path: str, cookie: str | None, *, at_once: int, units: int) -> Contender:
    """``units`` requests, ``at_once`` of them at a time."""
    request = scope(path, cookie)

    async def one() -> None:
        await app({**request}, receive, check)

    async def run() -> None:
        for _ in range(units // at_once):
            if at_once == 1:
                await one()
            else:
                await asyncio.gather(*[one() for _ in range(at_once)])

    return run


async def cases() -> AsyncIterator[Case]:
    with RedisServer() as server:
        apps = {name: make(server.url) for name, make in CONTENDERS.items()}
        cookies = {name: await fill(app) for name, app in apps.items()}

        def contender(path: str, at_once: int, units: int) -> Callable[[str], Contender]:
            return lambda name: requests(apps[name], path, cookies[name], at_once=at_once, units=units)

        def untouched(name: str, known: bool) -> Contender:
            return requests(apps[name], "/untouched", cookies[name] if known else None, at_once=1, units=500)

        peers = [*SERVER_SIDE, SIGNED_COOKIE]
        for known in (False, True):
            who = "known visitor, lazy" if known else "no cookie"
            yield Case(
                piece="sessions",
                name=f"untouched, {who}, over the bare application",
                ours=untouched("ours, lazy" if known else "ours", known),
                peers={name: untouched(name, known) for name in peers},
                base=untouched("bare", known),
                units=500,
            )
        for path, at_once, units, rounds, who in (
            ("/read", 1, 128, 30, "ours"),
            ("/read", 32, 128, 30, "ours"),
            ("/read", 32, 128, 30, "ours, unseen"),
            ("/read", 128, 128, 30, "ours"),
            ("/modify", 1, 128, 30, "ours"),
            ("/modify", 32, 128, 30, "ours"),
            ("/read", 1000, 1000, 10, "ours"),  # the last, as it leaves the peers with as many connections
        ):
            make = contender(path, at_once, units)
            first = ", not seen by this process before" if who == "ours, unseen" else ""
            yield Case(
                piece="sessions",
                name=f"{path[1:]}, {'1 at a time' if at_once == 1 else f'{at_once} concurrent'}{first}",
                ours=make(who),
                peers={name: make(name) for name in peers},
                floor=make("floor"),
                units=units,
                rounds=rounds,
            )
