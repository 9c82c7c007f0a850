"""What a visitor wrote is what they read, with a MariaDB replica that lags."""

from collections.abc import Callable

from sqlalchemy import text

from scalekit.database import STRONG, TokenSigner
from tests.database.mariadb.conftest import Both
from tests.faults import pause_replay
from tests.servers import MariaDBPair

PRIMARY, REPLICA = 1, 2

STOCK = text("SELECT stock FROM item WHERE id = 1")


def test_a_write_on_server_a_is_read_on_server_b(
    make: Callable[..., Both], mariadb: MariaDBPair, shop: str
) -> None:
    """1. Another process has only the token that the visitor brings: with replay paused it reads from the
    primary, afterwards from the replica; a visitor without it reads the replica's past."""
    servers = [mariadb.primary, mariadb.replica]
    a, b = make(servers, shop), make(servers, shop)
    signer = TokenSigner("a secret that all servers share")
    stock, _ = a.read()
    with pause_replay(mariadb.replica):
        with a.cluster.scope() as scope:
            a.write()
            assert scope.token is not None
            cookie = signer.dumps(scope.token)
            assert a.read() == (stock + 1, PRIMARY)
        with b.cluster.scope(signer.loads(cookie)):
            for _ in range(10):
                assert b.read() == (stock + 1, PRIMARY)
        with b.cluster.scope():
            assert b.read() == (stock, REPLICA)
    mariadb.wait_caught_up()
    with b.cluster.scope(signer.loads(cookie)):
        assert b.read() == (stock + 1, REPLICA)


def test_many_visitors_write_and_read(both: Both, mariadb: MariaDBPair) -> None:
    """1. A replica that replays all the time is read from only when it shows the visitor's own write."""
    for _ in range(100):
        with both.cluster.scope() as scope:
            before = both.run(lambda session: session.scalar(STOCK), consistency=STRONG)
            both.write()
            stock, _ = both.read()
            assert stock == before + 1
    mariadb.wait_caught_up()
    with both.cluster.scope(scope.token):
        assert both.read() == (stock, REPLICA)
