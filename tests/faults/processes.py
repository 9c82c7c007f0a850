"""Faults of a server's processes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers import processes
from tests.servers.base import Server


def kill(server: Server) -> None:
    """SIGKILL the server and its children at one moment; returns when all are gone. Data on its disk stay."""
    server.kill()


@contextmanager
def freeze(server: Server) -> Iterator[None]:
    """SIGSTOP the server and its children: connections stay open, new ones are still accepted by the
    kernel, and nothing is answered until the context ends."""
    pids = processes.stop_tree(server.pid)
    try:
        yield
    finally:
        processes.send(pids, signal.SIGCONT)
