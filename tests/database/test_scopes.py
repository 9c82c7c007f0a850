"""Who is shown what was written where: scopes in scopes, and the process around them all."""

from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI
from sqlalchemy import text

from scalekit.database import Cluster, Token, asgi
from scalekit.database.scope import Scope
from scalekit.database.wsgi import ReadYourWritesMiddleware
from tests.conftest import Database
from tests.database._lag import lagging, meet
from tests.database._tokens import token

READ = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")


def write(cluster: Cluster) -> None:
    with cluster.session() as session:
        session.execute(WRITE)
        session.commit()


def read(cluster: Cluster) -> tuple[int, bool]:
    with cluster.session() as session:
        stock, replica = session.execute(READ).one()
        return stock, replica


def test_what_others_of_the_request_commit_meanwhile(
    make_sync: Callable[..., Cluster], items: Database
) -> None:
    """1. A task of the request commits while another one is in a scope of its own: that reads it, too."""
    cluster = make_sync()
    meet(cluster)
    with lagging(items), cluster.scope() as request:
        with cluster.scope(), cluster.session() as reading:
            assert reading.execute(READ).one() == (0, True)
            with cluster.scopes.enter(request):  # as in a task that was started before
                write(cluster)
            assert reading.execute(READ).one() == (1, False), "the same transaction of that scope"
            assert read(cluster) == (1, False)
        with cluster.scope(request.token):
            assert read(cluster) == (1, False)


def test_a_scope_that_a_transaction_is_entered_with(
    make_sync: Callable[..., Cluster], items: Database
) -> None:
    """1. A session, or a connection, that was opened before follows: what its scope was promised it reads."""
    writer, cluster = make_sync(), make_sync()
    for one in (writer, cluster):
        meet(one)
    with cluster.session() as session, cluster.connection(read=True) as connection:
        assert session.execute(READ).one() == connection.execute(READ).one() == (0, True)
        with lagging(items), writer.scope() as elsewhere:
            write(writer)
            with cluster.scope(elsewhere.token):
                assert session.execute(READ).one() == (1, False)
                assert connection.execute(READ).one() == (1, False)


def test_the_process_reads_what_its_scopes_wrote(make_sync: Callable[..., Cluster], items: Database) -> None:
    """1. 23. A script after its jobs, a worker that a request gave something to do. No other scope does."""
    cluster = make_sync()
    meet(cluster)

    def app(environ: object, start_response: Callable[..., object]) -> list[bytes]:
        write(cluster)
        start_response("204 No Content", [])
        return []

    served = ReadYourWritesMiddleware(app, cluster=cluster, secret_key="a secret of sixteen bytes")
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "wsgi.url_scheme": "http"}
    with lagging(items):
        with cluster.scope():
            write(cluster)
        assert read(cluster) == (1, False)
        list(served(environ, lambda *_: lambda _: None))
        assert read(cluster) == (2, False)
        with cluster.scope() as other:
            assert other.token is None
            assert read(cluster) == (0, True)


async def test_a_scope_in_a_synchronous_dependency() -> None:
    """23. FastAPI enters and leaves it in two contexts, and runs the endpoint in a third: it is no error,
    what was promised counts for the rest of the request, and for no other."""
    wanted = token(1, 100)
    with Cluster("sqlite://") as cluster:
        app = FastAPI()
        app.add_middleware(asgi.ReadYourWritesMiddleware, cluster=cluster, secret_key="s" * 16)

        def inside() -> Iterator[None]:
            with cluster.scope(wanted):
                yield

        def shown() -> bool:
            scope = cluster.scopes.current()
            assert scope is not None
            assert scope.token == Scope(parent=scope).token
            return scope.token is not None and scope.token.includes(wanted)

        @app.get("/thread")
        def thread(scope: Annotated[None, Depends(inside)]) -> bool:
            return shown()

        @app.get("/task")
        async def task(scope: Annotated[None, Depends(inside)]) -> bool:
            return shown()

        @app.get("/other")
        async def other() -> bool:
            with cluster.scope(wanted):
                assert shown()
            return shown()

        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            answers = [(await client.get(path)).json() for path in ("/thread", "/task", "/other")]
        assert answers == [True, True, False]


def test_a_scope_that_is_left_in_another_context() -> None:
    """23. It is over where it is left, if it was known there at all; what is around it goes on."""
    with Cluster("sqlite://") as cluster, cluster.scope() as around:
        current, before = cluster.scopes.current, copy_context()
        inside = cluster.scope()
        scope = inside.__enter__()
        after = copy_context()
        before.run(inside.__exit__, None, None, None)
        assert [context.run(current) for context in (before, after)] == [around, scope]
        other = cluster.scope()
        before.run(other.__enter__)
        after.run(other.__exit__, None, None, None)
        assert after.run(current) is scope
        nested = cluster.scope()
        entered = nested.__enter__()
        copied = copy_context()
        assert copied.run(current) is entered
        copied.run(nested.__exit__, None, None, None)
        assert copied.run(current) is scope
    assert current() is None


def test_what_a_scope_is_promised_in_a_thread_is_no_doubt() -> None:
    """1. Of what the request has committed nobody knows where, nothing stays in doubt because of it."""
    with Cluster("sqlite://") as cluster, cluster.scope() as around:
        around.doubt(whose := object(), Token.unknown("pg:1", 1))
        with cluster.scope(token(1, 100)) as inside:
            assert inside.token is not None
            assert not inside.token.is_known
        around.relieve(whose)
        assert around.token == token(1, 100)
