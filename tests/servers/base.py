"""What all servers share: a child process that comes up, is found by its port, and really goes away."""

import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from tests.servers import guard, processes, scratch
from tests.servers.ports import HOST, free_port
from tests.servers.waiting import START_TIMEOUT, wait_until


class ServerMissing(Exception):
    """The server's program is not on this machine; `cure` is the command that installs it."""

    def __init__(self, name: str, *, cure: str) -> None:
        self.name, self.cure = name, cure
        super().__init__(f"{name} is not installed; to run this: {cure}")


class ServerFailed(Exception):
    """The server did not come up; the message ends with the tail of its log."""


class PortTaken(ServerFailed):
    """Somebody took the port between the choice and the start."""


class Server(ABC):
    """One server process on 127.0.0.1, with a directory and a log file of its own.

    ``with RedisServer() as server:`` starts it and, at the end, stops it and removes its directory.
    Between, `stop()` (or a fault) ends the process and `start()` brings it back on the same port with
    the data it had. After `start()` returns the server answers; if it does not come up within 30 s,
    `ServerFailed` shows the tail of its log, and nothing is left behind.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM  # an orderly stop
    close_signal: ClassVar[signal.Signals] = signal.SIGTERM  # a quick one: the data are thrown away
    drops_root: ClassVar[bool] = True  # run as another account when root, as most servers insist on
    start_timeout: ClassVar[float] = START_TIMEOUT

    def __init__(self, *, port: int | None = None) -> None:
        self.host = HOST
        self._given_port = port
        self._port = port
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    # What a server defines.

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments; it stays in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether *this* process (not another on its port) answers. Polled, never raises for "not yet"."""

    def prepare(self) -> None:  # noqa: B027 (most servers have nothing to prepare)
        """Write configuration and data into `directory`, before every start."""

    def choose_port(self) -> int:
        return free_port()

    def environment(self) -> dict[str, str] | None:
        """The process's environment; None inherits ours."""
        return None

    # What users get.

    @property
    def port(self) -> int:
        if self._port is None:
            self._port = self.choose_port()
        return self._port

    @property
    def pid(self) -> int:
        """The main process's id; `ServerFailed` when it does not run."""
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def directory(self) -> Path:
        """The server's own directory; made when first asked for."""
        if self._directory is None:
            self._directory = scratch.make_directory(self.name)
        return self._directory

    @property
    def log(self) -> str:
        """All the server has written since its last start."""
        path = self.directory / "log"
        return path.read_bytes()[self._log_start :].decode(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start and wait until it answers. A server that was never up tries other ports when its is taken."""
        retries = 3 if self._given_port is None and self._process is None else 0
        while True:
            try:
                self.launch()
                self.wait_ready()
            except PortTaken:
                if not retries:
                    self.close()
                    raise
                self.close()
                self._port, retries = None, retries - 1
            except BaseException:
                self.close()
                raise
            else:
                return self

    def launch(self) -> None:
        """Start the process without waiting for it; `wait_ready()` must follow."""
        assert not self.running, f"{self.name} runs already"
        self._end(self.stop_signal, 0)  # one that died on its own is still to be buried
        self.prepare()
        log = self.directory / "log"
        self._log_start = log.stat().st_size if log.exists() else 0
        account: dict[str, Any] = scratch.unprivileged() if self.drops_root else {}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=self.environment(),
                start_new_session=True,  # Ctrl-C in the terminal is for the test run alone
                **account,
            )
        guard.watch(self._process.pid)

    def wait_ready(self) -> None:
        """Return when the server answers; `PortTaken` or `ServerFailed` if it will not."""
        try:
            wait_until(
                lambda: not self.running or self.is_ready(), timeout=self.start_timeout, what=self.name
            )
        except TimeoutError as error:
            raise self.failure(str(error)) from None
        if not self.running:
            assert self._process is not None
            raise self.failure(f"{self.name} ended with status {self._process.returncode} while starting")

    def failure(self, reason: str) -> ServerFailed:
        tail = "\n".join(self.log.splitlines()[-30:])
        kind = PortTaken if "address already in use" in tail.lower() else ServerFailed
        return kind(f"{reason}; the end of its log:\n{tail or '(empty)'}")

    def stop(self, *, timeout: float = 10.0) -> None:
        """End the process in good order, and with SIGKILL those of its tree that still run after `timeout`
        seconds. The data stay. Stopping twice is stopping once."""
        self._end(self.stop_signal, timeout)

    def close(self) -> None:
        """Stop at once and remove the directory."""
        try:
            self._end(self.close_signal, 5.0)
        finally:
            if self._directory is not None:
                scratch.remove_directory(self._directory)
                self._directory = None

    def kill(self) -> None:
        """SIGKILL the whole tree, as a machine that loses power; returns when all of it is gone."""
        if self.running:
            self._bury(processes.kill_tree(self.pid))

    def _end(self, signum: signal.Signals, timeout: float) -> None:
        if self._process is None:
            return
        if self.running:
            pids = processes.tree(self.pid)
            processes.send([self.pid], signum)
            processes.send(pids, signal.SIGCONT)  # one that is frozen cannot see the signal
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                pids += processes.kill_tree(self.pid)
            processes.send(processes.alive(pids), signal.SIGKILL)
            self._bury(pids)
        else:
            self._bury([])

    def _bury(self, pids: list[int]) -> None:
        assert self._process is not None
        self._process.wait()
        guard.unwatch(self._process.pid)
        wait_until(lambda: not processes.alive(pids), what=f"{self.name}'s processes end")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
