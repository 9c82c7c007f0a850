"""The HTTP side of health: which path asks for what, and how it is answered. Pure."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from scalekit.errors import ConfigurationError
from scalekit.ops.health import Report
from scalekit.types import Headers

Probe: TypeAlias = Literal["live", "ready", "startup"]
MARK = "scalekit.probe"
"""Set in the scope or environ of a probe, for whoever is outside: it is no visitor's request."""


@dataclass(frozen=True)
class Answer:
    """A whole response. ``body`` is what GET gets; HEAD gets its length."""

    status: int
    body: bytes
    headers: Headers


def checked_path(path: str) -> str:
    """``path`` without a slash at its end.

    Raises:
        ConfigurationError: it does not begin with a slash, or is the root.
    """
    stripped = path.rstrip("/")
    if not stripped.startswith("/"):
        raise ConfigurationError(
            f"path={path!r} must begin with a slash and name a folder, as '/health' does"
        )
    return stripped


def probe_for(path: str, prefix: str) -> Probe | None:
    """The probe that ``path`` asks for, or ``None`` if the path is the application's."""
    if path.startswith(prefix):
        match path[len(prefix) :]:
            case "/live":
                return "live"
            case "/ready":
                return "ready"
            case "/startup":
                return "startup"
    return None


def live() -> Answer:
    return _answer(200, b'{"status": "live"}')


def ready(report: Report) -> Answer:
    return _answer(200 if report.ready else 503, report.body)


def startup(report: Report, *, started: bool) -> Answer:
    """``report`` says what a start waits for."""
    return _answer(200, b'{"status": "started"}') if started else _answer(503, report.body)


def not_allowed() -> Answer:
    answer = _answer(405, b'{"status": "use GET or HEAD"}')
    answer.headers.append((b"allow", b"GET, HEAD"))
    return answer


def _answer(status: int, body: bytes) -> Answer:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # The answer is true for this server and this moment only.
        (b"cache-control", b"no-store"),
    ]
    return Answer(status, body, headers)
