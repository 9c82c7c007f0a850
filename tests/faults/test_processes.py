"""kill and freeze."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import freeze, kill
from tests.servers import PostgresServer, RedisServer, wait_until
from tests.servers.processes import alive, tree

ROOT = Path(__file__).parents[2]


def test_a_frozen_server_does_not_answer() -> None:
    """It accepts a connection and says nothing; after the context it answers, having lost nothing."""
    with RedisServer() as server:
        server.call("SET", "key", "value")
        with freeze(server), pytest.raises(TimeoutError):
            server.call("PING", timeout=0.2)
        assert server.call("GET", "key") == b"value"


def test_a_killed_server_is_gone() -> None:
    """After kill() nobody listens and no child lives, though PostgreSQL's children have own sessions."""
    with PostgresServer() as server:
        pids = tree(server.pid)
        assert len(pids) > 3
        kill(server)
        assert not alive(pids)
        assert not server.running
        server.start()
        assert server.sql("SELECT 1") == "1"


def test_freezing_postgres_freezes_its_children() -> None:
    """A backend that serves a client is frozen with the server."""
    with PostgresServer() as server:
        with freeze(server), pytest.raises(TimeoutError):
            server.sql("SELECT 1", timeout=0.3)
        assert server.sql("SELECT 1") == "1"


def test_killing_twice_is_killing_once() -> None:
    """A fault on a server that is down changes nothing."""
    with RedisServer() as server:
        kill(server)
        kill(server)
        assert not server.running


def test_nothing_outlives_a_killed_run() -> None:
    """SIGKILL to the process that started servers: they end and their directories go, all the same."""
    code = (
        "from tests.servers import PostgresServer, RedisServer\n"
        "servers = [PostgresServer().start(), RedisServer().start()]\n"
        "print(*[server.pid for server in servers], flush=True)\n"
        "print(*[server.directory for server in servers], flush=True)\n"
        "input()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert run.stdin is not None
    assert run.stdout is not None
    with run:
        pids = [int(pid) for pid in run.stdout.readline().split()]
        directories = [Path(path) for path in run.stdout.readline().split()]
        pids = [each for pid in pids for each in tree(pid)]
        assert len(pids) > 4
        run.kill()
    wait_until(lambda: not alive(pids), what="servers end")
    wait_until(lambda: not any(path.exists() for path in directories), what="directories go")
