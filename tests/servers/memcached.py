"""Memcached."""

import re
import signal
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from tests.servers.base import Server
from tests.servers.programs import find_program, run
from tests.servers.waiting import wait_until

# The line that ends an answer.
_LAST = re.compile(
    "(END|EN|HD|OK|STORED|TOUCHED|DELETED|NOT_FOUND|BUSY|ERROR|CLIENT_ERROR|SERVER_ERROR)( |$)"
)


class Memcached(Server):
    """One memcached; its data go with the process.

    `memory` is in MiB, `max_item_size` in bytes. Over "tls" it has a certificate of its own, `certificate`;
    over "unix" it listens on a socket in its directory. `options` are put at the end of the command line.
    """

    name = "memcached"
    close_signal = signal.SIGKILL  # there is nothing to lose

    def __init__(
        self,
        *,
        port: int | None = None,
        memory: int = 64,
        max_item_size: int = 1 << 20,
        over: Literal["tcp", "tls", "unix"] = "tcp",
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(port=port)
        self.memory, self.max_item_size, self.over, self.options = memory, max_item_size, over, options

    @property
    def certificate(self) -> Path:
        return self.directory / "certificate.pem"

    @property
    def socket_path(self) -> Path:
        return self.directory / "memcached.sock"

    def prepare(self) -> None:
        if self.over == "tls" and not self.certificate.exists():
            openssl = find_program("openssl", cure="apt-get install openssl")
            run(
                openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                "-keyout", "key.pem", "-out", self.certificate.name, "-subj", "/CN=localhost",
                "-addext", f"subjectAltName=IP:{self.host}",
                cwd=self.directory,
            )  # fmt: skip

    def command(self) -> list[str]:
        program = find_program("memcached", cure="apt-get install memcached")
        where = ["-l", self.host, "-p", str(self.port), "-U", "0"]
        if self.over == "unix":
            where = ["-s", str(self.socket_path)]
        elif self.over == "tls":
            where += ["-Z", "-o", f"ssl_chain_cert={self.certificate},ssl_key={self.directory / 'key.pem'}"]
        return [
            program, *where,
            "-m", str(self.memory), "-I", str(self.max_item_size), "-c", "1024", *self.options,
        ]  # fmt: skip

    def is_ready(self) -> bool:
        try:
            return self.stats(timeout=0.5)["pid"] == str(self.pid)
        except (OSError, KeyError):
            return False

    def stats(self, *, timeout: float = 5.0) -> dict[str, str]:
        """The answer to ``stats``."""
        with self.connect(timeout) as connection:
            connection.sendall(b"stats\r\nquit\r\n")
            with connection.makefile("r", newline="\r\n") as replies:
                rows = (line.split(None, 2) for line in replies if line.startswith("STAT "))
                return {name: value.strip() for _, name, value in rows}

    def call(self, command: str) -> list[str]:
        """The lines of the answer to a one-line command; values are lines of their own."""
        with self.connect(5.0) as connection:
            connection.sendall(f"{command}\r\n".encode())
            lines = []
            with connection.makefile("r", encoding="latin-1", newline="\n") as replies:
                for line in replies:  # a dump's end without a CR, unlike all others
                    lines.append(line.rstrip("\r\n"))
                    if _LAST.match(lines[-1]):
                        break
        return lines

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with ``prefix``, sorted."""
        # Twice: one that memcached moves to another list, as it does once in a while, a dump may miss.
        dumps = [wait_until(lambda: self._dump(), what="the dump of keys") for _ in range(2)]
        found = {unquote(line.split()[0].removeprefix("key=")) for lines in dumps for line in lines[:-1]}
        return sorted(key for key in found if key.startswith(prefix))

    def _dump(self) -> list[str] | None:
        lines = self.call("lru_crawler metadump all")
        return None if lines[0].startswith("BUSY") else lines

    def connect(self, timeout: float) -> socket.socket:
        """A connection that speaks the protocol."""
        family = socket.AF_UNIX if self.over == "unix" else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(str(self.socket_path) if self.over == "unix" else (self.host, self.port))
            if self.over == "tls":
                context = ssl.create_default_context(cafile=str(self.certificate))
                return context.wrap_socket(connection, server_hostname=self.host)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def url(self) -> str:
        """``memcached://127.0.0.1:port``, and what the other ways are called."""
        if self.over == "unix":
            return f"unix://{self.socket_path}"
        return f"{'memcacheds' if self.over == 'tls' else 'memcached'}://{self.host}:{self.port}"
