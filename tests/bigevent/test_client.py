"""A visitor's browser: what it tries again, what it makes of an answer, and what it counts."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from examples.bigevent.client import Browser, Traffic
from examples.bigevent.run import Crowd
from tests.servers.ports import free_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def browsing(
    handler: Handler, *, patience: float = 30.0, timeout: float = 30.0
) -> AsyncIterator[tuple[Browser, Traffic, str]]:
    """A browser at a server that answers so."""
    runner = web.ServerRunner(web.Server(handler))  # type: ignore[arg-type]
    await runner.setup()
    traffic = Traffic()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=timeout)
        ) as http:
            until = time.monotonic() + 3600
            yield Browser(http, front=url, traffic=traffic, until=until, patience=patience), traffic, url
    finally:
        await runner.cleanup()


def answering(*statuses: int) -> Handler:
    """These, one after the other; the last one again and again."""
    left = list(statuses)

    async def handler(request: web.BaseRequest) -> web.Response:
        status = left.pop(0) if len(left) > 1 else left[0]
        headers = {"X-Server": "127.0.0.1:8001", "Location": "/elsewhere"}
        return web.Response(status=status, text='{"user": "ann"}', headers=headers)

    return handler


@pytest.mark.parametrize(
    ("statuses", "outcome", "doubt", "failed"),
    [
        ((200,), "done", False, []),
        ((503, 502, 200), "done", True, ["503", "502"]),
        ((401,), "anonymous", False, ["401"]),
        ((503, 401), "anonymous", True, ["503", "401"]),
        ((404,), "missing", False, ["404"]),
        ((302,), "unclear", False, ["302"]),
        ((413,), "unclear", False, ["413"]),
    ],
)
async def test_what_becomes_of_an_answer(
    statuses: tuple[int, ...], outcome: str, doubt: bool, failed: list[str]
) -> None:
    """Errors of servers are tried again, and leave a doubt; each attempt is a request, and each that was not
    answered with what was asked for is a failed one. Nobody is sent elsewhere."""
    async with browsing(answering(*statuses)) as (browser, traffic, _):
        answer = await browser.ask("POST", "/checkout/1")
        assert (answer.outcome, answer.doubt) == (outcome, doubt)
        assert [failure.cause for failure in traffic.failures] == failed
        assert traffic.requests == len(statuses)
        assert all(failure.server == 8001 for failure in traffic.failures)
        assert answer.json() == ({"user": "ann"} if outcome == "done" else {})


async def test_patience_ends() -> None:
    """What was never answered well is unclear: it may have happened."""
    async with browsing(answering(503), patience=0.0) as (browser, traffic, _):
        answer = await browser.ask("POST", "/checkout/1")
        assert (answer.outcome, answer.doubt) == ("unclear", True)
        assert traffic.requests == len(traffic.failures)


async def test_a_connection_that_is_lost() -> None:
    """A cause of its own, which does not say what has happened."""

    async def lost(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with browsing(lost, patience=0.0) as (browser, traffic, _):
        assert (await browser.ask("POST", "/")).outcome == "unclear"
        assert [failure.cause for failure in traffic.failures] == ["closed"]


async def test_an_answer_that_is_cut_off() -> None:
    """It is known whose it was: the server had answered before it went away."""

    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"X-Server": "127.0.0.1:8001", "Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b"some of it")
        assert request.transport is not None
        request.transport.close()
        return answer

    async with browsing(cut, patience=0.0) as (browser, traffic, _):
        assert (await browser.ask("GET", "/")).outcome == "unclear"
        assert [(failure.cause, failure.server) for failure in traffic.failures] == [("closed", 8001)]


async def test_content_of_another_kind() -> None:
    """It is a failed request with a cause of its own, however good its status, and is tried again."""
    bodies = [b"<html>", b"[]", b'{"user": "ann"}']

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(body=bodies.pop(0))

    async with browsing(handler) as (browser, traffic, _):
        answer = await browser.ask("GET", "/", fits=lambda body: body.startswith(b"{"))
        assert (answer.outcome, answer.doubt, answer.body) == ("done", True, b'{"user": "ann"}')
        assert [failure.cause for failure in traffic.failures] == ["wrong content"] * 2
        assert traffic.requests == 3


async def test_nginx_that_has_no_server_left() -> None:
    """It names their group then, which is no port."""

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(status=502, headers={"X-Server": "shop"})

    async with browsing(handler, patience=0.0) as (browser, traffic, _):
        assert (await browser.ask("GET", "/")).outcome == "unclear"
        assert [(failure.cause, failure.server) for failure in traffic.failures] == [("502", 0)]


async def test_a_server_that_is_silent() -> None:
    """A cause of its own, too."""
    enough = asyncio.Event()

    async def silent(request: web.BaseRequest) -> web.Response:
        await enough.wait()
        return web.Response()

    async with browsing(silent, patience=0.0, timeout=0.2) as (browser, traffic, _):
        assert (await browser.ask("POST", "/")).outcome == "unclear"
        assert [failure.cause for failure in traffic.failures] == ["time-out"]
        enough.set()


async def test_an_asset_is_asked_for_once() -> None:
    """From wherever the page says; a page with a dead asset is not made good by another try. No cookie goes
    there."""
    seen = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers.get("cookie"))
        answer = web.Response(status=503 if request.path == "/static/a.js" else 200)
        answer.set_cookie("session", "1")
        return answer

    async with (
        browsing(handler) as (browser, traffic, _),
        browsing(handler) as (_, _, cdn),
    ):
        await browser.ask("GET", "/")
        assert (await browser.ask("GET", "/")).outcome == "done"
        answer = await browser.ask("GET", f"{cdn}/static/a.js", label="asset: ")
        assert answer.outcome == "unclear"
        nobody = f"http://127.0.0.1:{free_port()}/static/a.js"
        assert (await browser.ask("GET", nobody, label="asset: ")).outcome == "unclear"
    assert seen == [None, "session=1", None]
    assert [failure.cause for failure in traffic.failures] == ["asset: 503", "asset: connection refused"]


async def test_each_browser_has_a_name() -> None:
    """By which the shop tells visitors apart that all come from one address."""
    seen = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers["user-agent"])
        return web.Response()

    async with browsing(handler) as (_, _, url), aiohttp.ClientSession() as http:
        crowd = Crowd(http, url, users=2, until=time.monotonic())
        for visitor in crowd.enter(2, "u"):
            await visitor._browser.ask("GET", "/")
        crowd.close()
    assert len(set(seen)) == 2
