"""One connection of a thread."""

import socket
import time

from scalekit._memcached.idle import readable
from scalekit._memcached.source import Server, Source
from scalekit._memcached.wire import Replies, Reply

_CHUNK = 1 << 16


class Connection:
    """One socket. Raises what the socket raises, EOFError, or Malformed."""

    def __init__(self, server: Server, source: Source, timeout: float) -> None:
        place = server.place
        if isinstance(place, str):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            self._socket = socket.create_connection(place, timeout)
        try:
            self._socket.settimeout(timeout)
            if isinstance(place, str):
                self._socket.connect(place)
            else:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if source.tls is not None:
                    self._socket = source.tls.wrap_socket(self._socket, server_hostname=place[0])
        except BaseException:
            self._socket.close()
            raise
        self._replies = Replies()
        self._until = 0.0  # when the replies that are to come are late

    def ask(self, data: bytes, timeout: float) -> Reply:
        """Send and receive; ``timeout`` is for both together."""
        self.send(data, timeout)
        return self.receive()

    def send(self, data: bytes, timeout: float) -> None:
        """Send; ``timeout`` is for the replies, too."""
        self._until = time.monotonic() + timeout
        self._socket.settimeout(timeout)
        self._socket.sendall(data)

    def receive(self) -> Reply:
        """The next reply."""
        while (reply := self._replies.next()) is None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            received = self._socket.recv(_CHUNK)
            if not received:
                raise EOFError("the server has closed the connection")
            self._replies.feed(received)
        return reply

    def sound(self) -> bool:
        """Whether the server has neither closed it nor said something unasked."""
        return not self._replies.pending and not readable(self._socket)

    def close(self) -> None:
        self._socket.close()
