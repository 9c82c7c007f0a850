"""How a scrape is answered, the same under ASGI and WSGI."""

import logging
import os
import time

from scalekit.errors import ConfigurationError
from scalekit.ops.collecting import Metrics
from scalekit.ops.probes import Answer
from scalekit.ops.siblings import Siblings
from scalekit.types import Headers

_log = logging.getLogger("scalekit.ops")


class Scrapes:
    """What is answered at one path, for all processes of the server.

    Args:
        metrics: what reports.
        path: such as ``"/metrics"``.
        directory: where the processes meet, see :mod:`scalekit.ops.siblings`.

    Raises:
        ConfigurationError: ``path`` does not begin with a slash, or ``directory`` cannot be a directory.
        MissingExtra: ``prometheus_client`` is not installed.
    """

    def __init__(self, metrics: Metrics, path: str, directory: str | os.PathLike[str] | None) -> None:
        from scalekit.ops.prometheus import exposition

        if not path.startswith("/") or path == "/":
            raise ConfigurationError(f"path={path!r:.100} must begin with a slash, as '/metrics' does")
        self._exposition = exposition
        self.path = path
        self.siblings = Siblings(metrics.collect, directory=directory)
        self._refused: tuple[float, str] | None = None

    def arrive(self, place: object) -> None:
        """A request has come: from now on this process can be asked. No request fails because it cannot."""
        if self.siblings.joined or (self._refused and time.monotonic() < self._refused[0]):
            return
        try:
            self.siblings.join(place)
        except ConfigurationError as error:
            if self._refused is None:
                _log.error("%s", error)
            self._refused = time.monotonic() + 10, str(error)

    def answer(self, method: str, accept: str) -> Answer:
        """The numbers. It may block for two seconds."""
        if method not in ("GET", "HEAD"):
            return _answer(405, "text/plain", b"use GET or HEAD\n", [(b"allow", b"GET, HEAD")])
        if not self.siblings.joined:
            # Some numbers would look like all of them; none at all is noticed.
            reason = self._refused[1] if self._refused else "not yet"
            return _answer(503, "text/plain; charset=utf-8", f"{reason}\n".encode())
        content_type, body = self._exposition(self.siblings.gather(), accept=accept)
        return _answer(200, content_type, body)


def _answer(status: int, content_type: str, body: bytes, more: Headers | None = None) -> Answer:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *(more or ()),
    ]
    return Answer(status, body, headers)
