"""One app server: ``python -m examples.shop.server``, configured by SHOP_... (see ``app/settings.py``).

It takes any free port and says which in its first line of output. SIGTERM drains it; SIGKILL is what the
control room does to it.
"""

import contextlib
import logging
import re
import socket
from urllib.parse import urlsplit

import uvicorn

from examples.shop.app.main import create_app
from examples.shop.app.settings import Settings


def _say_who(server: str, names: dict[str, str]) -> None:
    """Warnings of several servers share one terminal: say whose they are, and of what by its name."""

    class Named(logging.Formatter):
        def formatMessage(self, record: logging.LogRecord) -> str:
            text = super().formatMessage(record)
            for address, name in names.items():
                text = re.sub(rf"{re.escape(address)}(/\w+)?", name, text)
            return text

    handler = logging.StreamHandler()
    handler.setFormatter(Named(f"  {server}: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def main() -> None:
    settings = Settings.from_environment()
    app = create_app(settings)
    names = dict(app.state.shop.counts.names)  # of the databases
    if settings.redis:
        place = urlsplit(settings.redis)
        names |= {settings.redis: "Valkey", f"redis://{place.netloc}": "Valkey", place.netloc: "Valkey"}
    _say_who(settings.server, names)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=5)
    print(listener.getsockname()[1], flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # how uvicorn ends after a SIGINT, its work done
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
