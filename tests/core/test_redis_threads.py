"""The synchronous colour: threads wait for a connection, for a bounded time."""

import gc
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from types import FrameType
from typing import Any

import pytest
import redis

from scalekit._redis import Redis, Script
from scalekit._redis.follow import MasterPool
from scalekit._redis.kept import KeptConnections
from scalekit.errors import BackendUnavailable
from tests.servers import RedisServer, wait_until


def test_replies_and_scripts(redis_url: str, prefix: str) -> None:
    """Raw replies, and scripts by digest with their text as the second choice."""
    commands = Redis.from_url(redis_url).using("sync")
    assert commands.execute("SET", prefix + "a", b"\xff") == b"OK"
    assert commands.execute("GET", prefix + "a") == b"\xff"
    script = Script("return ARGV[1]")
    commands.execute("SCRIPT", "FLUSH")
    assert commands.script(script, [prefix], ["x"]) == b"x"
    assert commands.script(script, [prefix], ["y"]) == b"y"
    commands.close()


def test_a_given_client_lends_its_settings(redis_url: str, prefix: str) -> None:
    """Its settings are used, its connections are not, and closing ours leaves them open."""
    with redis.from_url(redis_url, decode_responses=True, client_name="theirs") as client:
        theirs = client.client_id()
        commands = Redis(client).using("sync")
        assert b"name=theirs" in commands.execute("CLIENT", "INFO")
        assert commands.execute("CLIENT", "ID") != theirs
        commands.close()
        assert client.client_id() == theirs


def test_a_connection_goes_from_command_to_command(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool is asked for the first one, and for another when the server has closed that."""
    asked: list[None] = []
    get_connection = redis.ConnectionPool.get_connection

    def count(pool: redis.ConnectionPool, *args: object, **options: object) -> object:
        asked.append(None)
        return get_connection(pool, *args, **options)

    monkeypatch.setattr(redis.ConnectionPool, "get_connection", count)
    commands = Redis.from_url(redis_server.url).using("sync")
    first = commands.execute("CLIENT", "ID")
    assert [commands.execute("CLIENT", "ID") for _ in range(10)] == [first] * 10
    assert len(asked) == 1
    redis_server.call("CLIENT", "KILL", "ID", first)
    second = commands.execute("CLIENT", "ID")
    assert second != first
    assert len(asked) == 2
    commands.close()
    wait_until(
        lambda: f"id={second} ".encode() not in redis_server.call("CLIENT", "LIST"), what="it is closed"
    )


@pytest.mark.parametrize("servers", ["redis_server", "redis_cluster"])
def test_a_link_that_is_dropped_closes_its_connections(servers: str, request: pytest.FixtureRequest) -> None:
    """Whoever forgets a link leaves no connection open until the garbage collector finds its socket."""
    name = f"dropped-{uuid.uuid4().hex}"
    server = request.getfixturevalue(servers)
    nodes = [server] if servers == "redis_server" else server.masters
    link = Redis.from_url(f"{server.url}?client_name={name}")
    link.using("sync").execute("GET", "a")

    def seen() -> bool:
        return any(name.encode() in node.call("CLIENT", "LIST") for node in nodes)

    assert seen()
    del link
    gc.collect()  # a Cluster's router is part of a cycle
    wait_until(lambda: not seen(), what="the connection is closed")


def test_more_threads_than_connections_wait(prefix: str) -> None:
    """64 threads, four connections, no error, and never a fifth connection."""
    with RedisServer() as server:
        commands = Redis.from_url(server.url, max_connections=4, timeout=30).using("sync")
        most: list[int] = []

        def work(number: int) -> bytes:
            for _ in range(10):
                commands.execute("SET", f"{prefix}{number}", number)
            most.append(commands.execute("CLIENT", "LIST").count(b"\n"))
            value: bytes = commands.execute("GET", f"{prefix}{number}")
            return value

        with ThreadPoolExecutor(64) as pool:
            assert list(pool.map(work, range(64))) == [b"%d" % number for number in range(64)]
        assert max(most) <= 4
        commands.close()
        wait_until(lambda: server.info("clients")["connected_clients"] == "1", what="connections are closed")


def test_waiting_for_a_connection_is_bounded(redis_server: RedisServer) -> None:
    """When all connections stay in use for the time-out, the error says so and how to cure it."""
    commands: Any = Redis.from_url(redis_server.url, max_connections=1).using("sync")
    commands.execute("PING")
    source, patient = commands._source, commands._source.limits
    with commands._turn():  # in use for longer than any command may take
        source.limits = replace(patient, timeout=0.2)  # not before: the server may have no turn for so long
        for _ in range(2):
            with pytest.raises(BackendUnavailable, match=r"in use for 0\.2 s; raise max_connections"):
                commands.execute("PING")
        source.limits = patient
    assert commands.execute("PING") == b"PONG"
    commands.close()


def test_a_thread_that_is_interrupted_leaves_no_reply_behind(redis_server: RedisServer, prefix: str) -> None:
    """KeyboardInterrupt while waiting: its connection is not given to the next one."""
    commands = Redis.from_url(redis_server.url).using("sync")
    commands.execute("SET", prefix + "a", "mine")

    class Interrupted(BaseException):
        pass

    pool = commands._pool  # type: ignore[attr-defined]  # to interrupt it where no signal can be aimed
    connection = pool.get_connection()
    sock = connection._sock

    class Interrupting:
        def recv(self, size: int) -> bytes:
            connection._sock = sock
            raise Interrupted

        def __getattr__(self, name: str) -> Any:
            return getattr(sock, name)

    connection._sock = Interrupting()
    pool.release(connection)
    with pytest.raises(Interrupted):
        commands.execute("GET", prefix + "a")
    assert commands.execute("GET", prefix + "b") is None
    commands.close()


@pytest.mark.parametrize("sentinel", [False, True])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, ValueError])
def test_a_thread_that_is_interrupted_while_it_connects(
    redis_server: RedisServer, prefix: str, raised: type[BaseException], sentinel: bool
) -> None:
    """A signal handler may raise anything, at any moment: the next one gets a connection that has logged in,
    to the right database and without a reply that is still to come."""
    interrupted = False

    def begin(connection: Any) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            connection.send_command("PING")
            raise raised
        connection.on_connect()

    with redis.Redis(port=redis_server.port, db=3, redis_connect_func=begin) as client:
        commands = Redis(client).using("sync")
        if sentinel:
            commands._open()  # type: ignore[attr-defined]
            commands._pool = MasterPool(commands._pool._pool)  # type: ignore[attr-defined]
        with pytest.raises(raised):
            commands.execute("GET", prefix)
        for _ in range(2):
            assert b"db=3" in commands.execute("CLIENT", "INFO")
        commands.close()


@contextmanager
def interrupted(at: int) -> Iterator[list[str]]:
    """Raise ``KeyboardInterrupt`` at this event, the first is 0, of the standard library's locks that are
    written in Python; gives the events."""
    events: list[str] = []

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename != threading.__file__:
            return None
        events.append(f"{event} {frame.f_code.co_name}")
        if len(events) == at + 1:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield events
    finally:
        sys.settrace(before)


def test_a_thread_that_is_interrupted_while_it_takes_its_turn(redis_url: str) -> None:
    """However a handler of a signal interrupts it, no lock stays taken that all others wait for."""
    commands = Redis.from_url(redis_url, max_connections=2, timeout=30).using("sync")
    commands.execute("PING")
    for at in count():
        try:
            with interrupted(at) as events:
                commands.execute("PING")
        except KeyboardInterrupt:
            pass
        assert commands.execute("ECHO", str(at)) == str(at).encode(), events
        if len(events) <= at:
            break
    commands.close()


def test_a_kept_connection_that_another_thread_has_just_closed(redis_url: str) -> None:
    """It has no socket to be looked at any more; another is taken, and nobody gets redis-py's TypeError."""
    with redis.Redis.from_url(redis_url) as client:
        kept = KeptConnections(client.connection_pool)
        connection = kept.get_connection()
        kept.release(connection)
        connection._parser._sock = None  # as far as disconnect() has got
        other = kept.get_connection()
        other.send_command("PING")
        assert other.read_response() in (b"PONG", "PONG")
        kept.release(other)
