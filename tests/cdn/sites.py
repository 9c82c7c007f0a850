"""A site behind ``PolicyMiddleware``, in ASGI and in WSGI, that answers what a test tells it to."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from scalekit.cdn import asgi, wsgi


@dataclass
class Answer:
    """What the application answers, what it leaves as its session, and what it does meanwhile."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    session: object = None
    run: Callable[[], object] = lambda: None
    query: str = ""
    """As the application has seen it."""


class Site:
    """The same site under either interface."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def ask(
        self,
        url: str = "/",
        answer: Answer | None = None,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """A request to the site, behind a middleware with ``options``."""
        answer = answer or Answer()
        if self.name == "wsgi":
            app = wsgi.PolicyMiddleware(_wsgi(answer), **options)

            def bytewise(environ: Any, start_response: Any) -> Any:
                # As PEP 3333 has it; httpx gives it as text.
                path = environ["PATH_INFO"].encode().decode("latin-1")
                return app({**environ, "PATH_INFO": path}, start_response)

            with httpx.Client(transport=httpx.WSGITransport(bytewise), base_url="http://shop") as client:
                return client.request(method, url, headers=headers)
        return asyncio.run(self._ask(asgi.PolicyMiddleware(_asgi(answer), **options), method, url, headers))

    async def _ask(self, app: Any, method: str, url: str, headers: dict[str, str] | None) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.request(method, url, headers=headers)


def _wsgi(answer: Answer) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        answer.query = environ["QUERY_STRING"]
        answer.run()
        if answer.session is not None:
            environ["scalekit.session"] = answer.session
        start_response(f"{answer.status} Status", list(answer.headers))
        return [b""]

    return app


def _asgi(answer: Answer) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        answer.query = scope["query_string"].decode()
        answer.run()
        if answer.session is not None:
            scope["session"] = answer.session
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return app
