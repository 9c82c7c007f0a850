"""Memcached."""

import signal
import socket

from tests.servers.base import Server
from tests.servers.programs import find_program


class Memcached(Server):
    """One memcached; its data go with the process. `memory` is in MiB, `max_item_size` in bytes."""

    name = "memcached"
    close_signal = signal.SIGKILL  # there is nothing to lose

    def __init__(self, *, port: int | None = None, memory: int = 64, max_item_size: int = 1 << 20) -> None:
        super().__init__(port=port)
        self.memory, self.max_item_size = memory, max_item_size

    def command(self) -> list[str]:
        program = find_program("memcached", cure="apt-get install memcached")
        return [
            program, "-l", self.host, "-p", str(self.port), "-U", "0",
            "-m", str(self.memory), "-I", str(self.max_item_size), "-c", "1024",
        ]  # fmt: skip

    def is_ready(self) -> bool:
        try:
            return self.stats(timeout=0.5)["pid"] == str(self.pid)
        except (OSError, KeyError):
            return False

    def stats(self, *, timeout: float = 5.0) -> dict[str, str]:
        """The answer to ``stats``."""
        with socket.create_connection((self.host, self.port), timeout) as connection:
            connection.sendall(b"stats\r\nquit\r\n")
            with connection.makefile("r", newline="\r\n") as replies:
                rows = (line.split(None, 2) for line in replies if line.startswith("STAT "))
                return {name: value.strip() for _, name, value in rows}

    @property
    def url(self) -> str:
        """``memcached://127.0.0.1:port``"""
        return f"memcached://{self.host}:{self.port}"
