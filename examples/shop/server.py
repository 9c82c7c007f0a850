"""One app server: ``python -m examples.shop.server``, configured by SHOP_... (see ``app/settings.py``).

It takes any free port and says which in its first line of output. SIGTERM drains it; SIGKILL is what the
control room does to it.
"""

import socket

import uvicorn

from examples.shop.app.main import create_app
from examples.shop.app.settings import Settings


def main() -> None:
    app = create_app(Settings.from_environment())
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=5)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
