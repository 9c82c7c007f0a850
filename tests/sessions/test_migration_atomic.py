"""`incr`, `append` and `take` of what a legacy cookie holds (issue 3, lines 9 and 33)."""

from typing import Any

import pytest

from scalekit.errors import BackendUnavailable, SessionCommitted
from scalekit.sessions import MemoryStore, Store
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.migration import LegacyCookie, StarletteCookie
from scalekit.sessions.session import Session
from tests.sessions.legacy import OLD, Browser, starlette_value
from tests.sessions.shells import SECRET, Answer, Shell, drive_asgi, make_scope, settled
from tests.sessions.test_atomic import doing

DATA = {"_user_id": "7", "count": 100, "log": [], "flash": "Saved."}


@pytest.fixture
def cookie() -> LegacyCookie:
    return StarletteCookie(secret_key=OLD, user=lambda data: data.get("_user_id"))


@pytest.fixture
def jar() -> dict[str, str]:
    return {"session": starlette_value(DATA)}


@pytest.fixture
def browser(shell_type: type[Shell], store: Store, cookie: LegacyCookie, jar: dict[str, str]) -> Browser:
    return Browser(shell_type(store, migrate=[cookie]), dict(jar))


@pytest.mark.parametrize(
    ("call", "mine", "theirs", "left"),
    [
        (("incr", "count"), 102, 101, {"count": 102, "log": [], "flash": "Saved."}),
        (("append", "log", "a"), 2, 1, {"count": 100, "log": ["a", "a"], "flash": "Saved."}),
        (("take", "flash"), None, "Saved.", {"count": 100, "log": []}),
    ],
)
def test_two_requests_with_one_cookie(
    browser: Browser, jar: dict[str, str], call: Any, mine: Any, theirs: Any, left: Any
) -> None:
    """9. 33. Both have looked at the session before either changes it: both changes happen, on one."""
    other = Browser(browser.shell, dict(jar))

    async def slow(session: Session) -> Any:
        assert session["count"] == 100
        first = other(doing(*call))
        return [first, await settled(getattr(session, call[0])(*call[1:]))]

    assert browser(slow) == [theirs, mine]
    for visitor in (browser, other):
        assert visitor(lambda session: [session.user_id, dict(session)]) == ["7", {"_user_id": "7", **left}]


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_whatever_becomes_of_the_response(browser: Browser) -> None:
    """9. 33. It is stored at once: a response that failed takes nothing back, and brings our cookie."""

    async def broken(session: Any) -> Answer:
        return Answer(await settled(session.incr("count")), status=500)

    assert browser.visit(broken).status == 500
    assert list(browser.jar) == ["__Host-session"]
    assert browser(lambda session: session["count"]) == 101


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_what_somebody_else_is_about_to_get(browser: Browser, jar: dict[str, str]) -> None:
    """9. 15. 33. Who logs in first counts in the session of the log-in; the legacy cookie gets none of it."""

    async def enter(session: Any) -> Any:
        session.login("8")
        return await settled(session.incr("count"))

    assert browser(enter) == 1
    assert browser(lambda session: [session.user_id, dict(session)]) == ["8", {"count": 1}]
    assert Browser(browser.shell, dict(jar))(dict) == {}


def test_the_store_fails(shell_type: type[Shell], cookie: LegacyCookie, jar: dict[str, str]) -> None:
    """9. 27. 33. The store takes no new session: 503, and the legacy cookie is as good as before."""

    class Full(MemoryStore):
        full = True

        def create(self, *args: Any, **options: Any) -> Any:
            if self.full:
                raise BackendUnavailable("full", backend="the store")
            return super().create(*args, **options)

    store = Full()
    browser = Browser(shell_type(store, migrate=[cookie]), dict(jar))
    reply = browser.visit(doing("incr", "count"))
    assert (reply.status, browser.jar) == (503, jar)
    store.full = False
    assert browser(doing("incr", "count")) == 101


@pytest.mark.parametrize("call", [("incr", "count"), ("append", "log", 1), ("take", "flash")])
async def test_after_the_headers(cookie: LegacyCookie, jar: dict[str, str], call: Any) -> None:
    """9. 33. Our cookie can follow no more: `SessionCommitted`, and nothing has changed."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await getattr(scope["session"], call[0])(*call[1:])
        except SessionCommitted as error:
            seen.append(str(error))
        await send({"type": "http.response.body", "body": b""})

    store = MemoryStore()
    middleware = SessionMiddleware(app, store=store, secret_key=SECRET, migrate=[cookie])
    await drive_asgi(middleware, make_scope(f"session={jar['session']}".encode()))
    assert "headers have left" in seen[0]
    assert store.count() == 0
