"""Memcached."""

import socket

from tests.servers import Memcached
from tests.servers.processes import alive


def test_stores_and_returns(memcached_server: Memcached, prefix: str) -> None:
    """A value that was set is got."""
    key = f"{prefix}key".encode()
    with socket.create_connection((memcached_server.host, memcached_server.port)) as client:
        client.sendall(b"set %b 0 60 5\r\nvalue\r\nget %b\r\n" % (key, key))
        with client.makefile("rb") as replies:
            assert replies.readline() == b"STORED\r\n"
            assert replies.readline() == b"VALUE %b 0 5\r\n" % key
            assert replies.readline() == b"value\r\n"


def test_goes_away() -> None:
    """A server of one's own takes its options and leaves nothing."""
    with Memcached(memory=8) as server:
        pid, directory = server.pid, server.directory
        assert server.stats()["limit_maxbytes"] == str(8 << 20)
    assert not alive([pid])
    assert not directory.exists()
