"""One request of ours to a CDN's API, and its whole answer, by the standard library's client.

Rules:

* A connection for each: purges are rare, and a connection that was kept is one that may have been closed.
* An answer is read up to a limit. No redirect is followed: a token is for the host it was given for.
"""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from scalekit.errors import ConfigurationError

_MOST = 1024 * 1024
_HOST = "an address such as 'https://api.fastly.com'"


@dataclass(frozen=True, slots=True)
class Response:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Api:
    """An HTTP API.

    Args:
        url: ``https://`` and a host; ``http://`` for one on this machine.
        timeout: seconds for connecting, and for each piece of the answer.
        option: what ``url`` was given as, for messages.

    Raises:
        ConfigurationError: ``url`` is no such address.
    """

    def __init__(self, url: str, *, timeout: float, option: str) -> None:
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ConfigurationError(f"{option} has a user name or password in it; give the address alone")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigurationError(f"{option} must be {_HOST}, not {url!r:.100}")
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ConfigurationError(
                f"{option} begins with http://, which would show the token to everyone on the way; "
                "write https://"
            )
        self.host = parts.netloc
        self._url: SplitResult = parts
        self._timeout = timeout

    def send(self, method: str, target: str, headers: Mapping[str, str]) -> Response:
        """Send a request without a body.

        Raises:
            OSError: no connection, or none that lasted; ``TimeoutError`` if there was no answer in time.
            http.client.HTTPException: what came is no HTTP.
        """
        connection = self._connect()
        try:
            connection.request(method, self._url.path.rstrip("/") + target, headers=dict(headers))
            answer = connection.getresponse()
            body = answer.read(_MOST)
            return Response(answer.status, {name.lower(): text for name, text in answer.getheaders()}, body)
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        return http.client.HTTPSConnection(
            host, port, timeout=self._timeout, context=ssl.create_default_context()
        )
