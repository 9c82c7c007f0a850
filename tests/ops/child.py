"""Child processes that tests send signals to."""

import contextlib
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.servers.processes import send, tree

ROOT = Path(__file__).parents[2]

PATIENCE = 60.0  # seconds

WHOLE_LINES = "import sys; sys.stdout.reconfigure(line_buffering=True, write_through=False)\n"
"""With ``-u`` alone `print()` writes a line and its end one after the other, and a fork may come between."""


class Child:
    """A Python child process; its output is read line by line, with a deadline."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=env,
            # `./dev test &` in a script: background jobs ignore SIGINT, and their children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._seen: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line.rstrip("\n"))

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        """The next line of output."""
        try:
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"no further line after {self._seen}") from None
        self._seen.append(line)
        return line

    def rest(self) -> list[str]:
        """Wait for the end; the lines that were left."""
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        lines = []
        while not self._lines.empty():
            lines.append(self._lines.get())
        return lines


@contextlib.contextmanager
def child(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Child]:
    """Start a child; it is gone when the block ends."""
    started = Child(*arguments, env=env)
    try:
        yield started
    finally:
        send(tree(started.process.pid), signal.SIGKILL)  # a master would leave its workers behind
        started.process.wait()
        assert started.process.stdin
        started.process.stdin.close()
        started._reader.join(PATIENCE)


@contextlib.contextmanager
def script(source: str) -> Iterator[Child]:
    """A child that runs ``source``. It may fork: what both print comes in whole lines."""
    # From 3.12 on Python warns of a fork beside threads, which is what some of them are about.
    with child("-W", "ignore::DeprecationWarning", "-c", WHOLE_LINES + textwrap.dedent(source)) as started:
        yield started


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)
