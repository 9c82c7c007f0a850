"""Nothing outlives a test run, however it ends.

One small process (watcher.py) watches this one. It knows the servers that run and the directories and
sockets they use; when its parent is gone, be it by SIGKILL, it kills those trees and removes those files.
(PR_SET_PDEATHSIG would not do: it follows the *thread* that started the child, and does not reach
grandchildren.)
"""

import atexit
import os
import subprocess
import sys
import threading
from pathlib import Path

_ROOT = Path(__file__).parents[2]


class _Guard:
    """The watcher's end in the watched process."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.watcher", str(self.owner)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=_ROOT,
            env={"PYTHONDONTWRITEBYTECODE": "1"},  # nobody measures coverage of the watcher
            start_new_session=True,  # Ctrl-C is not for it
        )
        atexit.register(self.close)

    def tell(self, verb: str, what: str | int) -> None:
        pipe = self.process.stdin
        assert pipe is not None
        pipe.write(f"{verb} {what}\n".encode())
        pipe.flush()

    def close(self) -> None:
        if os.getpid() == self.owner:  # not in a child that was forked
            self.process.communicate()


_guard: _Guard | None = None
_lock = threading.Lock()


def _tell(verb: str, what: str | int) -> None:
    global _guard
    with _lock:
        if _guard is None or _guard.owner != os.getpid():
            _guard = _Guard()
        _guard.tell(verb, what)


def watch(pid: int) -> None:
    """Kill the tree of `pid` when this process ends."""
    _tell("watch", pid)


def unwatch(pid: int) -> None:
    """`pid` has ended; the number may go to another process."""
    _tell("unwatch", pid)


def own(path: Path) -> None:
    """Remove the directory or socket `path` when this process ends."""
    _tell("own", str(path))


def disown(path: Path) -> None:
    """`path` was removed."""
    _tell("disown", str(path))
