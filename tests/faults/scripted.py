"""A server that speaks the Redis protocol until it is asked for something: then it does as the test says."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.servers.ports import HOST


@contextmanager
def scripted(answer: Callable[[socket.socket], None], *, to: bytes = b"GET") -> Iterator["Scripted"]:
    """``answer`` gets the connection for every command that has ``to`` in it; others are answered with OK."""
    with socket.create_server((HOST, 0)) as listener:
        server = Scripted(listener, answer, to)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


class Scripted:
    """See :func:`scripted`. ``left`` is set when a client has closed a connection."""

    def __init__(self, listener: socket.socket, answer: Callable[[socket.socket], None], to: bytes) -> None:
        self.port: int = listener.getsockname()[1]
        self.url = f"redis://{HOST}:{self.port}"
        self.left = threading.Event()
        self._listener, self._answer, self._to = listener, answer, to

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(1 << 16):
                if b"master_replid" in data:  # a cache's first question over a connection
                    sock.sendall(b":0\r\n")
                elif self._to in data:
                    self._answer(sock)
                else:
                    sock.sendall(b"+OK\r\n" * (data.count(b"\r\n*") + 1))
        self.left.set()
