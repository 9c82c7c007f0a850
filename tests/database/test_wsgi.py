"""The WSGI middleware, under the validator of the standard library."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from sqlalchemy import text

from scalekit.database import Cluster
from scalekit.database.wsgi import ReadYourWritesMiddleware

SECRET = "a secret that is long enough"
READ = text("SELECT stock FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")


class Browser:
    """Calls an application as a server would, and keeps the cookie."""

    def __init__(self, app: Any) -> None:
        self.app = validator(app)
        self.cookie = ""
        self.headers: dict[str, str] = {}
        self.environ: dict[str, str] = {}

    def __call__(self, method: str = "GET") -> str:
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "QUERY_STRING": "", **self.environ}
        if self.cookie:
            environ["HTTP_COOKIE"] = self.cookie
        setup_testing_defaults(environ)
        written: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            self.headers = dict(headers)
            return written.append

        body = self.app(environ, start_response)
        try:
            written.extend(body)
        finally:
            body.close()  # type: ignore[attr-defined]
        if "Set-Cookie" in self.headers:
            self.cookie = self.headers["Set-Cookie"].partition(";")[0]
        return b"".join(written).decode()


def plain(cluster: Cluster) -> Callable[..., Iterable[bytes]]:
    """An application that returns a list."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with cluster.session() as session:
            if environ["REQUEST_METHOD"] == "POST":
                session.execute(WRITE)
                session.commit()
            stock = session.execute(READ).scalar_one()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(stock).encode()]

    return app


def generating(cluster: Cluster) -> Callable[..., Iterable[bytes]]:
    """An application that is a generator: its body runs after the call."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        yield from plain(cluster)(environ, start_response)

    return app


def committing_late(cluster: Cluster) -> Callable[..., Iterable[bytes]]:
    """An application that commits after it has named its headers, as a teardown function does."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with cluster.session() as session:
            if environ["REQUEST_METHOD"] == "POST":
                session.execute(WRITE)
            stock = session.execute(READ).scalar_one()
            start_response("200 OK", [("Content-Type", "text/plain")])
            session.commit()
        return [str(stock).encode()]

    return app


@pytest.mark.parametrize("make", [plain, generating, committing_late])
def test_a_visitor_reads_what_they_wrote(
    make_sync: Callable[..., Cluster], make: Callable[[Cluster], Any]
) -> None:
    """Post and get, ten times; the cookie comes with the writes and with nothing else."""
    cluster = make_sync()
    browser = Browser(ReadYourWritesMiddleware(make(cluster), cluster=cluster, secret_key=SECRET))
    assert browser() == "0"
    assert browser.headers == {"Content-Type": "text/plain"}
    for number in range(1, 11):
        assert browser("POST") == str(number)
        assert browser.headers["Set-Cookie"].startswith("rw=")
        assert browser.headers["Cache-Control"] == "private"
        assert browser() == str(number)
        assert "Set-Cookie" not in browser.headers


def test_a_client_without_cookies(make_sync: Callable[..., Cluster]) -> None:
    """4. The header comes with the write and with each answer to who sent it, and is private; nobody else has
    it."""
    cluster = make_sync()
    app = ReadYourWritesMiddleware(
        plain(cluster), cluster=cluster, secret_key=SECRET, header="X-RW", cookie=None
    )

    class Client(Browser):
        def __call__(self, method: str = "GET") -> str:
            answer = super().__call__(method)
            self.environ = {"HTTP_X_RW": self.headers["X-Rw"]} if "X-Rw" in self.headers else {}
            return answer

    client, other = Client(app), Client(app)
    for number in range(1, 6):
        assert client("POST") == str(number)
        assert client() == str(number)
        assert client.environ
        assert client.headers["Cache-Control"] == "private"
        assert "Set-Cookie" not in client.headers
        other()
        assert not other.environ


def test_the_write_callable(make_sync: Callable[..., Cluster]) -> None:
    """start_response returns write(), which sends the headers first."""
    cluster = make_sync()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"written, ")
        return [b"returned"]

    assert Browser(ReadYourWritesMiddleware(app, cluster=cluster, secret_key=SECRET))() == "written, returned"


def test_an_error_page_replaces_the_headers(make_sync: Callable[..., Cluster]) -> None:
    """An application may start again with exc_info while nothing has left."""
    import sys

    cluster = make_sync()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        try:
            raise ValueError("too late")
        except ValueError:
            start_response("500 Oh", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"sorry"]

    browser = Browser(ReadYourWritesMiddleware(app, cluster=cluster, secret_key=SECRET))
    assert browser() == "sorry"
    assert browser.headers == {"Content-Type": "text/plain"}
