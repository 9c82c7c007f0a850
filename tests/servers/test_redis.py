"""RedisServer."""

import os
import signal
import socket

import pytest

from tests.servers import RedisServer, ServerFailed
from tests.servers.processes import alive
from tests.servers.waiting import wait_until


def test_answers_and_goes_away() -> None:
    """It answers once started; afterwards no process, no directory and no listener is left."""
    with RedisServer() as server:
        pid, port, directory = server.pid, server.port, server.directory
        assert server.call("PING") == b"PONG"
        assert directory.is_dir()
    assert not alive([pid])
    assert not directory.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_only_this_machine_reaches_it(redis_server: RedisServer) -> None:
    """It listens on 127.0.0.1 and its Unix socket, nowhere else."""
    assert redis_server.call("CONFIG", "GET", "bind") == [b"bind", b"127.0.0.1"]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(redis_server.directory / "socket"))


def test_starts_again_where_it_was() -> None:
    """A killed server comes back on its port, and with appendonly with its data."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        server.call("SET", "key", "value")
        port, pid = server.port, server.pid
        server.kill()
        assert not server.running
        with pytest.raises(ConnectionRefusedError):
            server.call("PING")
        server.start()
        assert (server.port, server.call("GET", "key")) == (port, b"value")
        assert server.pid != pid


def test_one_that_died_on_its_own_starts_again() -> None:
    """A server that exits unasked is noticed and can be started again."""
    with RedisServer() as server:
        with pytest.raises(ConnectionError):
            server.call("SHUTDOWN", "NOSAVE")
        wait_until(lambda: not server.running, what="shutdown")
        server.start()
        assert server.call("PING") == b"PONG"


def test_a_password_is_demanded() -> None:
    """With a password the URL holds it, and nobody gets in without; it is not in the process list."""
    with RedisServer(password="secret") as server:
        assert server.url == f"redis://:secret@127.0.0.1:{server.port}/0"
        server.password = None
        with pytest.raises(Exception, match="NOAUTH"):
            server.call("PING")
        assert "secret" not in " ".join(server.command())


def test_a_start_that_fails_shows_the_log_and_leaves_nothing() -> None:
    """An option the server does not know: the error carries its words; its directory is gone."""
    server = RedisServer(no_such_option="1")
    directory = server.directory
    with pytest.raises(ServerFailed, match="no-such-option"):
        server.start()
    assert not server.running
    assert not directory.exists()


def test_a_taken_port_is_exchanged_for_another() -> None:
    """When somebody takes the chosen port before the start, the server finds another one."""
    server = RedisServer()
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", server.port))
        squatter.listen()
        taken = server.port
        with server:
            assert server.port != taken
            assert server.call("PING") == b"PONG"


def test_a_port_that_was_asked_for_is_not_exchanged(redis_server: RedisServer) -> None:
    """A given port that is taken is an error, even though somebody answers on it."""
    with pytest.raises(ServerFailed, match="in use"):
        RedisServer(port=redis_server.port).start()


def test_a_frozen_one_is_stopped_too() -> None:
    """A server that somebody has stopped with SIGSTOP still goes away."""
    with RedisServer() as server:
        pid = server.pid
        os.kill(pid, signal.SIGSTOP)
    assert not alive([pid])
