"""The pieces as health checks."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from scalekit.dependencies import Dependency, Required
from scalekit.errors import ConfigurationError, WrongColour
from scalekit.ops import Drain, asgi, wsgi
from scalekit.types import Colour
from tests.ops.test_asgi import hello
from tests.ops.test_wsgi import call
from tests.ops.test_wsgi import hello as wsgi_hello


class Piece:
    """Of one colour or of both, and up or down."""

    def __init__(self, *colours: Colour, required: Required = False, up: bool = True) -> None:
        self._colours, self._required = colours or ("sync", "async"), required
        self.up = up
        self.asked: list[Colour] = []

    def dependencies(self) -> Iterable[Dependency]:
        yield Dependency("cache", self._ask, required=self._required, ttl=0.001)

    def _ask(self, colour: Colour) -> object:
        if colour not in self._colours:
            raise WrongColour(found="sync", wanted=colour, what="the cache")
        self.asked.append(colour)
        if colour == "sync":
            return self.up

        async def answer() -> bool:
            return self.up

        return answer()


async def ready(app: asgi.OpsMiddleware, probe: str = "ready") -> tuple[int, Any]:
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        response = await http.get(f"/health/{probe}")
        return response.status_code, response.json()


async def test_a_piece_among_checks_is_asked_in_the_colour_of_the_application() -> None:
    """It tells itself what to ask; a second of the same name gets a number."""
    first, second = Piece(), Piece("sync", up=False)
    status, said = await ready(asgi.OpsMiddleware(hello, checks=[first, second]))
    assert status == 200  # optional, as what all servers share should be
    assert [(name, check["ok"]) for name, check in said["checks"].items()] == [
        ("cache", True),
        ("cache 2", False),
    ]
    assert first.asked == ["async"]
    assert second.asked == ["sync"]  # in a thread: it has no other


def test_under_wsgi() -> None:
    """It is asked in a thread, and in the synchronous colour."""
    piece = Piece()
    app = wsgi.OpsMiddleware(wsgi_hello, checks=[piece], drain=Drain(signals=()))
    line, _, body = call(app, "/health/ready")
    assert (line, json.loads(body)["checks"]["cache"]["ok"]) == ("200 OK", True)
    assert piece.asked == ["sync"]
    assert json.loads(call(app, "/health/startup")[2]) == {"status": "started"}


async def test_required_once() -> None:
    """A server gets no traffic before it has passed, and keeps it when it fails later."""
    piece = Piece(required="once", up=False)
    app = asgi.OpsMiddleware(hello, checks=[piece])
    assert (await ready(app))[0] == 503
    assert (await ready(app, "startup"))[0] == 503
    piece.up = True
    await asyncio.sleep(0.002)
    assert (await ready(app, "startup")) == (200, {"status": "started"})
    piece.up = False
    await asyncio.sleep(0.002)
    status, said = await ready(app)
    assert (status, said["status"]) == (200, "ready")
    assert said["checks"]["cache"] | {"took_ms": 0, "age_s": 0} == {
        "ok": False, "required": "once", "error": "returned False", "took_ms": 0, "age_s": 0
    }  # fmt: skip


async def test_a_start_is_over_for_good() -> None:
    """503 until the application is up and all that is required has passed at once, and 200 ever after."""
    piece, drain = Piece(required=True), Drain(signals=())
    app = asgi.OpsMiddleware(hello, checks=[piece], drain=drain)
    app._up = False  # as between the server's start-up message and the application's answer
    assert (await ready(app, "startup"))[0] == 503
    app._up = True
    assert (await ready(app, "startup"))[0] == 200
    piece.up = False
    await asyncio.sleep(0.002)
    assert (await ready(app))[0] == 503
    assert (await ready(app, "startup"))[0] == 200
    drain.start()
    assert (await ready(app, "startup"))[0] == 200


def test_what_is_no_piece() -> None:
    """A class of pieces, and anything else, are refused as before."""
    for wrong in (Piece, object()):
        with pytest.raises(ConfigurationError, match="each of checks= must be a check"):
            asgi.OpsMiddleware(hello, checks=[wrong])  # type: ignore[list-item]
