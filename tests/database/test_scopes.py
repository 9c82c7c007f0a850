"""Who is shown what was written where: scopes in scopes, and the process around them all."""

from collections.abc import Callable

from sqlalchemy import text

from scalekit.database import Cluster
from scalekit.database.wsgi import ReadYourWritesMiddleware
from tests.conftest import Database
from tests.database._lag import lagging, meet

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
