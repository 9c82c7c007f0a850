"""A file that begins a drain: for hooks that run beside the server, and whatever number of processes it has.

Rules:

* Every process that watches has a file of its own beside the flag, ``FLAG.PID-RANDOM``, that says how far it
  is, and holds a lock on it for as long as it lives. A file that nobody holds is of a process that is gone,
  whatever became of it; the lock tells that across containers, too, where process ids repeat.
* The drain begins when the flag appears, or is touched. Taking it away ends nothing.
* A flag that was there before the process is left over from an earlier one: it is ignored, and a server never
  comes up draining because of it. Unless somebody holds a lock on the flag: then a drain is under way, and
  this process is a worker that was put in the place of another. ``scalekit drain`` holds it and takes the
  flag away at its end; ``touch`` does neither.
* Looked at five times a second, by a daemon thread: a microsecond each, on any file system, with any server.
"""

import contextlib
import fcntl
import json
import logging
import os
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from scalekit.errors import ConfigurationError

if TYPE_CHECKING:
    from scalekit.ops.drain import Drain

_log = logging.getLogger("scalekit.ops")

TICK = 0.2
"""Seconds between two looks."""


class Flag:
    """Watches ``path`` for one `Drain`. A fork has to start it again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] | None = None  # the flag that is no news
        # The processes that watch: this one, and those it was forked from.
        self._claims: dict[int, object] = {}
        self._own: Path | None = None
        self._descriptor = -1
        self._said = b""
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, drain: "Drain") -> None:
        """Watch in this process, if it does not yet.

        Raises:
            ConfigurationError: nothing can be written beside the flag.
        """
        claim = object()
        if self._claims.setdefault(os.getpid(), claim) is not claim:
            return  # or another thread does it this moment
        if len(self._claims) == 1:
            self._seen = None if is_held(self.path) else _identity(self.path)
            if self._seen is not None:
                _log.warning(
                    "drain: %s was there before this server, which ignores it; touch it to drain", self.path
                )
        elif self._descriptor != -1:
            os.close(self._descriptor)  # the parent's; its lock is not ours
        self._said, self._end = b"", threading.Event()
        self._register(drain)
        self._thread = threading.Thread(
            target=self._watch, args=(drain, self._end), name="drain flag", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Watch no more, and take the file of this process away."""
        if os.getpid() not in self._claims:
            return
        self._end.set()
        self._claims = {}
        if self._own is not None and self._thread is not None:
            self._thread.join()  # which may be about to write
            self._own.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._own, self._descriptor = None, -1

    def _register(self, drain: "Drain") -> None:
        name = f"{self.path.name}.{os.getpid()}-{secrets.token_hex(4)}"
        hidden = self.path.with_name(f".{name}")
        try:
            self._descriptor = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._say(drain)
            self._own = self.path.with_name(name)
            hidden.rename(self._own)  # only now, so that nobody ever finds it without its lock
        except OSError as error:
            self._claims = {}
            raise ConfigurationError(
                f"file={str(self.path)!r}: the server can write nothing there ({error.strerror}); "
                f"make the folder {self.path.parent}, and let the account of the server write into it"
            ) from error

    def _watch(self, drain: "Drain", end: threading.Event) -> None:
        while not end.wait(TICK):
            found = _identity(self.path)
            if found is not None and found != self._seen and not drain.draining:
                _log.info("drain: begun by %s, %d in flight", self.path, drain.in_flight)
                drain.start()
            self._seen = found or self._seen
            with contextlib.suppress(
                OSError
            ):  # the disk is full, or away: a drain needs no more than the flag
                self._say(drain)

    def _say(self, drain: "Drain") -> None:
        state = "drained" if drain.drained else "draining" if drain.draining else "serving"
        facts = {
            "pid": os.getpid(),
            "state": state,
            "in_flight": drain.in_flight,
            "most": drain.delay + drain.grace,
        }
        said = json.dumps(facts).encode().ljust(200)
        if said != self._said:
            os.pwrite(self._descriptor, said, 0)
            self._said = said


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:  # not there, or not to be seen by us
        return None
    return found.st_ino, found.st_mtime_ns


def is_held(path: Path) -> bool:
    """Whether a process holds a lock on a file; not if it is this one."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
