"""The servers that applications run under, each with what makes it wait for its drain."""

from dataclasses import dataclass

import pytest

from tests.ops.child import PATIENCE

ASGI = "tests.ops.fleet_app:app"
WSGI = "tests.ops.fleet_wsgi:app"

_SECONDS = "600"
"""What a server waits by itself: longer than any test, so that all ends by a drain alone."""


@dataclass(frozen=True)
class Kind:
    """How to start a server. A ``hooked`` one is drained before its signal, which nothing can delay."""

    module: str
    options: tuple[str, ...]
    bind: str = "--bind=127.0.0.1:{port}"
    app: str = ASGI
    hooked: bool = False
    needs: tuple[str, ...] = ()

    def command(self, port: int, app: str | None = None) -> tuple[str, ...]:
        return "-m", self.module, app or self.app, self.bind.format(port=port), *self.options

    def skip_without(self) -> None:
        for module in (self.module, *self.needs):
            pytest.importorskip(module)


_GUNICORN = (
    "--no-control-socket",
    f"--graceful-timeout={_SECONDS}",
    f"--keep-alive={_SECONDS}",
    "--log-level=error",
)
_HYPERCORN = (f"--keep-alive={_SECONDS}", "--log-level=error")
_GRANIAN = ("--http1-header-read-timeout=60000", "--log-level=error")
_PORT = "--port={port}"

UVICORN = Kind(
    "uvicorn",
    (
        "--log-level=warning",
        f"--timeout-keep-alive={_SECONDS}",
        f"--timeout-worker-healthcheck={PATIENCE:.0f}",
    ),
    bind=_PORT,
)
KINDS = {
    "uvicorn": UVICORN,
    "gunicorn, uvicorn-worker": Kind(
        "gunicorn", ("-k=uvicorn_worker.UvicornWorker", *_GUNICORN), needs=("uvicorn_worker",)
    ),
    "gunicorn, asgi": Kind("gunicorn", ("-k=asgi", *_GUNICORN)),
    "gunicorn, gthread": Kind("gunicorn", ("-k=gthread", "--threads=16", *_GUNICORN), app=WSGI),
    "hypercorn -w 0": Kind("hypercorn", ("-w=0", *_HYPERCORN)),
    "hypercorn": Kind("hypercorn", _HYPERCORN, hooked=True),
    "granian": Kind("granian", ("--interface=asgi", *_GRANIAN), bind=_PORT),
    "granian, wsgi": Kind(
        "granian", ("--interface=wsgi", "--blocking-threads=4", *_GRANIAN), bind=_PORT, app=WSGI, hooked=True
    ),
}
