"""One small file, fetched over HTTP or HTTPS by a deadline: nothing is pooled, cached or followed."""

import http.client
import io
import socket
import ssl
import time
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import urlsplit

_LIMIT = 64 * 1024
_USER_AGENT = "scalekit"


class Fetch(Protocol):
    """Fetches a URL; what a probe may be given instead of :func:`fetch`."""

    def __call__(self, url: str, *, timeout: float) -> tuple[int, str]:
        """The status and the ``Content-Type`` of the answer, once it is all there.

        Raises:
            OSError: there was none within ``timeout`` seconds.
        """
        ...


def fetch(url: str, *, timeout: float, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    """The status and the ``Content-Type`` of the answer, whose first 64 KiB were read.

    Args:
        url: with ``http``, ``https``, or no scheme, which is taken for ``https``.
        timeout: seconds until all of that is there; each address of the host gets as long to connect.
        context: how certificates are checked; by default as the system has it.

    Raises:
        OSError: there is no such answer.
    """
    deadline = time.monotonic() + timeout
    parts = urlsplit(url, scheme="https")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    connection = socket.create_connection((parts.hostname or "", port), timeout)
    try:
        if parts.scheme == "https":
            context = context or ssl.create_default_context()
            connection = context.wrap_socket(connection, server_hostname=parts.hostname)
        connection.sendall(_request(parts.path, parts.netloc))
        response = http.client.HTTPResponse(
            cast("socket.socket", _Source(connection, deadline)), method="GET"
        )
        response.begin()
        response.read(_LIMIT)
        return response.status, response.headers.get("content-type", "")
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()


def _request(path: str, host: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: {_USER_AGENT}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


class _Source:
    """What ``http.client`` reads an answer from: a socket, with one deadline for all of it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._raw = _Raw(connection, deadline)

    def makefile(self, mode: str) -> BinaryIO:
        return io.BufferedReader(self._raw)


class _Raw(io.RawIOBase):
    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._connection.settimeout(left)
        received: int = self._connection.recv_into(buffer)
        return received
