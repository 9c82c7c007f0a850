"""Changes that replicas must have before they count: what a failover must not undo (`wait_replicas=`)."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from scalekit.errors import BackendTimeout, ConfigurationError, NotReplicated
from scalekit.sessions.redis import RedisStore
from tests.faults import kill
from tests.servers import RedisServer, wait_until
from tests.sessions.shells import Shell

COLOURS = pytest.mark.parametrize("shell_type", ["asgi", "wsgi"], indirect=True)


@contextlib.contextmanager
def primary_and_replica() -> Iterator[tuple[RedisServer, RedisServer]]:
    """In step."""
    with (
        RedisServer(repl_diskless_sync_delay=0) as primary,
        RedisServer(replicaof=f"{primary.host} {primary.port}") as replica,
    ):
        wait_until(lambda: replica.info("replication")["master_link_status"] == "up", what="a replica")
        yield primary, replica


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    with primary_and_replica() as servers:
        yield servers


@pytest.fixture
def breakable() -> Iterator[tuple[RedisServer, RedisServer]]:
    with primary_and_replica() as servers:
        yield servers


def read(session: Any) -> Any:
    return session.get("a")


def put(value: Any) -> Any:
    return lambda session: session.update(a=value)


def login(session: Any) -> None:
    session.login("ann")


def logout(session: Any) -> None:
    session.logout()


def served_by(shell_type: type[Shell], server: RedisServer, **options: Any) -> Shell:
    return shell_type(RedisStore.from_url(server.url, timeout=30, cooldown=0.1, **options))


@COLOURS
def test_a_failover_undoes_what_only_the_primary_had(
    shell_type: type[Shell], breakable: tuple[RedisServer, RedisServer]
) -> None:
    """Without, a change that was acknowledged can be lost. With it, what was acknowledged is there: a change
    that no replica has is refused, and so is a log-in."""
    primary, replica = breakable
    first = served_by(shell_type, primary, wait_replicas=1, wait_timeout=20)
    plain, careful = first.visitor(), first.visitor()
    for visitor in (plain, careful):
        visitor(put("first"))
    replica.call("REPLICAOF", "NO", "ONE")  # promoted, while the old primary is still served, for a moment
    assert served_by(shell_type, primary).visitor(cookie=plain.cookie).visit(put("lost")).status == 200
    hasty = served_by(shell_type, primary, wait_replicas=1, wait_timeout=0.05)
    assert hasty.visitor(cookie=careful.cookie).visit(put("refused")).status == 503
    refused = hasty.visitor().visit(login)
    assert (refused.status, refused.set_cookies) == (503, [])
    kill(primary)
    promoted = served_by(shell_type, replica)
    assert promoted.visitor(cookie=plain.cookie)(read) == "first"
    assert promoted.visitor(cookie=careful.cookie)(read) == "first"


@COLOURS
def test_replicas_have_each_change(shell_type: type[Shell], pair: tuple[RedisServer, RedisServer]) -> None:
    """A change, a log-in and a log-out are with the replica by the time the visitor hears of them."""
    primary, replica = pair
    shell = served_by(shell_type, primary, wait_replicas=1, wait_timeout=20)
    visitor = shell.visitor()
    for value in range(20):
        visitor(put(f"value-{value}"))
        assert any(b"value-%d" % value in field for field in fields(replica))
    visitor(login)
    assert sum(name.startswith(b"session:user:") for name in replica.call("KEYS", "*")) == 1
    visitor(logout)
    assert not any(name.startswith(b"session:user:") for name in replica.call("KEYS", "*"))


def fields(server: RedisServer) -> list[bytes]:
    return [
        field
        for name in server.call("KEYS", "session:*")
        if server.call("TYPE", name.decode()) == b"hash"
        for field in server.call("HVALS", name.decode())
    ]


async def test_the_error_has_its_facts(pair: tuple[RedisServer, RedisServer]) -> None:
    """It says how many were wanted and have it, and is a time-out: the change was made, perhaps for good."""
    store = RedisStore.from_url(pair[0].url, wait_replicas=2, wait_timeout=0.1).using("async")
    async with asyncio.timeout(30):
        for number in itertools.count():  # so soon the one that there is may not have it, on a busy machine
            with pytest.raises(NotReplicated) as caught:
                await store.create(f"{number:064}", fields={}, user=None, idle=60_000, lifetime=60_000)
            if caught.value.acknowledged:
                break
    assert "1 of the 2 wanted replicas" in str(caught.value)
    assert isinstance(caught.value, BackendTimeout)
    assert (caught.value.wanted, caught.value.acknowledged) == (2, 1)
    assert await store.load(f"{number:064}", idle=60_000, step=1000) is not None


def test_only_changes_wait(pair: tuple[RedisServer, RedisServer]) -> None:
    """A change waits once, and reading does not."""

    def waits() -> int:
        return int(pair[0].info("commandstats")["cmdstat_wait"].partition("calls=")[2].partition(",")[0])

    store = RedisStore.from_url(pair[0].url, wait_replicas=1, wait_timeout=20).using("sync")
    store.create("b" * 64, fields={}, user=None, idle=60_000, lifetime=60_000)
    store.save("b" * 64, changed={b"a": b"0"}, removed=[], idle=60_000)  # now the script is known
    before = waits()
    assert store.save("b" * 64, changed={b"a": b"1"}, removed=[], idle=60_000)
    assert waits() == before + 1
    assert store.load("b" * 64, idle=60_000, step=1000) is not None
    assert waits() == before + 1


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        ({"wait_replicas": -1}, "0 waits for none"),
        ({"wait_replicas": 1.5}, "0 waits for none"),
        ({"wait_replicas": 1, "wait_timeout": 0}, "wait_timeout"),
        ({"wait_replicas": 1, "wait_timeout": 1, "timeout": 1}, "below the timeout of 1 seconds"),
        ({"wait_replica": 1}, "did you mean wait_replicas="),
    ],
)
def test_options_that_are_none(options: dict[str, Any], cure: str) -> None:
    """A number out of range is told at start-up."""
    with pytest.raises(ConfigurationError, match=cure):
        RedisStore.from_url("redis://localhost", **options)
