"""What only ASGI has: its messages, their order, and the extensions for sending files."""

from pathlib import Path
from typing import Any

import pytest

from scalekit.cdn import Assets, HtmlRewriter
from scalekit.cdn.asgi import AssetMiddleware
from tests.cdn.drivers import call_asgi

PAGE = b'<p>static</p><img src="/static/logo.png">'
HTML = [(b"content-type", b"text/html")]


def app_of(*messages: dict[str, Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def start(headers: list[tuple[bytes, bytes]] = HTML) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def test_other_scopes_pass(assets: Assets) -> None:
    """A websocket and the lifespan are the application's own."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    for kind in ("lifespan", "websocket"):
        await AssetMiddleware(app, assets=assets)({"type": kind}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan", "websocket"]


async def test_events_are_not_delayed(assets: Assets) -> None:
    """Each event is sent on before the application makes the next."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start([(b"content-type", b"text/event-stream")]))
        for number in range(3):
            await send({"type": "http.response.body", "body": b"data: static\n\n", "more_body": True})
            assert len(sent) == number + 2

    async def send(message: Any) -> None:
        sent.append(message)

    await AssetMiddleware(app, assets=assets)(
        {"type": "http", "method": "GET", "path": "/", "headers": []},
        None,
        send,  # type: ignore[arg-type]
    )
    assert len(sent) == 4


async def test_a_page_without_a_length_starts_at_once(assets: Assets) -> None:
    """The headers of a stream do not wait for its first chunk."""
    reply = await call_asgi(AssetMiddleware(app_of(start()), assets=assets), "/")
    assert [message["type"] for message in reply.messages] == ["http.response.start"]


async def test_a_length_that_the_first_chunk_fills(assets: Assets) -> None:
    """Some frameworks send a whole page as a chunk and an empty one: its length is known all the same."""
    app = app_of(
        start([*HTML, (b"content-length", b"%d" % len(PAGE))]),
        {"type": "http.response.body", "body": PAGE, "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": False},
    )
    reply = await call_asgi(AssetMiddleware(app, assets=assets), "/")
    assert reply.headers["content-length"] == str(len(reply.body))
    assert [message.get("more_body") for message in reply.messages] == [None, True, False]


async def test_an_application_that_stops_short(assets: Assets) -> None:
    """A response that was started and never sent is still started: the server reports the fault, not we."""
    app = app_of(start([*HTML, (b"content-length", b"10")]))
    reply = await call_asgi(AssetMiddleware(app, assets=assets), "/")
    assert reply.status == 200


async def test_an_error_before_the_first_byte_leaves_room_for_an_error_page(assets: Assets) -> None:
    """A page whose body fails to come has not been started yet, so that an outer handler can answer 500."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start([*HTML, (b"content-length", b"10")]))
        raise ZeroDivisionError

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(ZeroDivisionError):
        await AssetMiddleware(app, assets=assets)(
            {"type": "http", "method": "GET", "path": "/", "headers": []},
            None,
            send,  # type: ignore[arg-type]
        )
    assert sent == []


async def test_a_page_sent_by_path(assets: Assets, tmp_path: Path) -> None:
    """A page that the server would send from a file is read and rewritten; any other file is passed on."""
    file = tmp_path / "page.html"
    file.write_bytes(PAGE * 10_000)
    by_path = {"type": "http.response.pathsend", "path": str(file)}
    extensions = {"http.response.pathsend": {}}
    length = (b"content-length", b"%d" % file.stat().st_size)
    page = await call_asgi(
        AssetMiddleware(app_of(start([*HTML, length]), by_path), assets=assets), "/", extensions=extensions
    )
    assert page.body == HtmlRewriter(assets).rewrite(PAGE * 10_000)
    assert "content-length" not in page.headers
    assert page.messages[-1]["more_body"] is False
    other = await call_asgi(
        AssetMiddleware(app_of(start([length]), by_path), assets=assets), "/", extensions=extensions
    )
    assert other.messages == [start([length]), by_path]


async def test_sending_by_descriptor_is_not_offered(assets: Assets) -> None:
    """A page behind a file descriptor could not be rewritten; other extensions stay, and the scope itself."""
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope["extensions"])
        await send(start([]))
        await send({"type": "http.response.trailers", "headers": []})

    extensions: dict[str, Any] = {"http.response.zerocopysend": {}, "http.response.trailers": {}}
    reply = await call_asgi(AssetMiddleware(app, assets=assets), "/", extensions=extensions)
    assert set(seen) == {"http.response.trailers"}
    assert set(extensions) == {"http.response.zerocopysend", "http.response.trailers"}
    assert reply.messages[1]["type"] == "http.response.trailers"


async def test_other_messages_of_a_page_pass(assets: Assets) -> None:
    """Trailers and whatever a server knows beyond are none of ours."""
    trailers = {"type": "http.response.trailers", "headers": []}
    app = app_of(start(), {"type": "x"}, {"type": "http.response.body", "body": PAGE}, trailers)
    reply = await call_asgi(AssetMiddleware(app, assets=assets), "/")
    assert reply.messages[1] == {"type": "x"}
    assert reply.messages[3] == trailers
