"""What is particular to FastAPI: sessions as dependencies."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.sse import EventSourceResponse
from starlette.requests import HTTPConnection

from scalekit.sessions import MemoryStore
from scalekit.sessions.asgi import AsyncSession, SessionMiddleware, get_session, load
from scalekit.testing import login
from tests.sessions.shells import SECRET


def make_app(**options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, store=MemoryStore(), secret_key=SECRET, **options)
    return app


def browser(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://shop")


def current(request: Request) -> AsyncSession:
    return get_session(request)


def user(session: Annotated[AsyncSession, Depends(current)]) -> Any:
    if session.user_id is None:
        raise HTTPException(401)
    return session.user_id


async def test_the_session_as_a_dependency() -> None:
    """32. `Annotated[AsyncSession, Depends(...)]`: endpoints have the session with its type, `def` ones too,
    which run in threads; a dependency on it can require a user.
    """
    app = make_app()

    @app.post("/login/{name}")
    def login(name: str, session: Annotated[AsyncSession, Depends(current)]) -> None:
        session.login(name)

    @app.get("/me")
    async def me(user: Annotated[str, Depends(user)]) -> str:
        return user

    async with browser(app) as client:
        assert (await client.get("/me")).status_code == 401
        await client.post("/login/ada")
        assert (await client.get("/me")).json() == "ada"


async def test_a_lazy_session_as_a_dependency() -> None:
    """3. With `lazy=True` the dependency loads: a route without it costs no access to the store."""

    class Counting(MemoryStore):
        loads = 0

        def load(self, *args: Any, **options: Any) -> Any:
            self.loads += 1
            return super().load(*args, **options)

    store = Counting()
    app = FastAPI()
    app.add_middleware(SessionMiddleware, store=store, secret_key=SECRET, lazy=True)

    async def session(connection: HTTPConnection) -> AsyncSession:
        return await load(connection)

    @app.get("/count")
    async def count(session: Annotated[AsyncSession, Depends(session)]) -> int:
        session["count"] = session.get("count", 0) + 1
        return int(session["count"])

    @app.get("/plain")
    async def plain() -> None: ...

    async with browser(app) as client:
        assert [(await client.get("/count")).json() for _ in range(3)] == [1, 2, 3]
        assert store.loads == 2
        await client.get("/plain")
        assert store.loads == 2


async def test_what_a_dependency_does_after_the_response() -> None:
    """25. The exit of a dependency with `yield`, and a background task, come after the headers; they save."""
    app = make_app()

    async def counted(request: Request) -> AsyncIterator[AsyncSession]:
        session = get_session(request)
        session.setdefault("visits", 0)
        yield session
        session["visits"] += 1
        await session.save()

    @app.get("/")
    async def show(session: Annotated[AsyncSession, Depends(counted)], tasks: BackgroundTasks) -> Any:
        async def afterwards() -> None:
            session["tasks"] = session.get("tasks", 0) + 1
            await session.save()

        tasks.add_task(afterwards)
        return dict(session)

    async with browser(app) as client:
        assert (await client.get("/")).json() == {"visits": 0}
        assert (await client.get("/")).json() == {"visits": 1, "tasks": 1}


async def test_server_sent_events_save() -> None:
    """25. An endpoint of `EventSourceResponse` runs after the headers have left; it saves with each event."""
    app = make_app()

    @app.get("/events", response_class=EventSourceResponse)
    async def events(session: Annotated[AsyncSession, Depends(current)]) -> AsyncIterator[int]:
        for _ in range(2):
            session["seen"] += 1
            assert await session.save() is True
            yield session["seen"]

    @app.get("/")
    async def show(session: Annotated[AsyncSession, Depends(current)]) -> int:
        return int(session.setdefault("seen", 0))

    async with browser(app) as client:
        await client.get("/")
        assert [line for line in (await client.get("/events")).text.split("\n") if line] == [
            "data: 1",
            "data: 2",
        ]
        assert (await client.get("/")).json() == 2


async def test_an_http_exception_saves_what_an_error_does_not() -> None:
    """A 4xx is an answer and saves; an exception that nobody handles is a 500 and saves nothing."""
    app = make_app()

    @app.get("/fail/{status}")
    async def fail(status: int, session: Annotated[AsyncSession, Depends(current)]) -> None:
        session["failures"] = session.get("failures", 0) + 1
        if status == 0:
            raise ZeroDivisionError
        raise HTTPException(status, str(session["failures"]))

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="https://shop") as client:
        seen = [(await client.get(f"/fail/{status}")).json() for status in (404, 403, 500, 503)]
        assert [reply["detail"] for reply in seen] == ["1", "2", "3", "3"]
        assert (await client.get("/fail/0")).status_code == 500
        assert (await client.get("/fail/404")).json()["detail"] == "3"


@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
def test_a_websocket_with_the_session_as_a_dependency() -> None:
    """25. The same dependency serves WebSockets when it asks for an `HTTPConnection`."""
    from starlette.testclient import TestClient

    app = make_app()

    def session_of(connection: HTTPConnection) -> AsyncSession:
        return get_session(connection)

    @app.websocket("/chat")
    async def chat(websocket: WebSocket, session: Annotated[AsyncSession, Depends(session_of)]) -> None:
        await websocket.accept()
        await websocket.send_json(session.user_id)
        await websocket.close()

    with login(TestClient(app), "ada").websocket_connect("/chat") as socket:
        assert socket.receive_json() == "ada"
