"""What a visitor wrote is what they read, with a MariaDB replica that lags."""

from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import text

from scalekit.database import ANY, STRONG, ReadWriteSession, TokenSigner
from tests.database.mariadb.conftest import READ, WRITE, Both
from tests.faults import pause_replay
from tests.servers import MariaDBPair, wait_until

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


def test_a_position_is_read_past_when_it_is_replayed(
    make: Callable[..., Both], mariadb: MariaDBPair, shop: str
) -> None:
    """For who keeps what was read: on a replica that stands still it is not, and later it is."""
    both = make([mariadb.primary, mariadb.replica], shop, consistency=ANY)

    def write(session: Any) -> str | None:
        session.execute(WRITE)
        session.commit()
        return cast(ReadWriteSession, session).committed_position()

    def read(session: Any) -> tuple[int, bool]:
        server = session.execute(READ).one()[1]
        return server, session.has_read_past(position)

    with pause_replay(mariadb.replica):
        position = both.run(write)
        assert position is not None
        assert both.run(read) == (REPLICA, False)
    wait_until(lambda: both.run(read) == (REPLICA, True), what="the replica to be heard of")
