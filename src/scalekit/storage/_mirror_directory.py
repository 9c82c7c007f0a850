"""The directory of a mirror, shared by any number of processes of this machine. Blocking: run it in a thread.

::

    <hash of the key>        (and of where the origin is) a whole copy; its mtime is when the origin was
                             asked, its atime when it was used
    <hash of the key>.part   one being written, by the process that holds a lock on it
    ledger                   how many bytes may be in use; whoever starts or ends a copy holds a lock on it
    dropped                  its mtime is another after each copy that was dropped

Rules:

* A copy appears whole, by a rename. Readers take no lock: what is unlinked or replaced while they read stays
  theirs to the end.
* Who dies lets go of its locks, as the kernel does that. A part that nobody holds is nobody's, and removed.
* The ledger is never too low: it is raised before a copy is begun, and what goes again is found by the next
  look at the directory, when the bound seems to be reached. Then the copies unused for longest go, until a
  tenth of the room is free, so that the next look is a while off.
* Nobody waits long for the ledger: without it there is no copy, but the object can be read.
* A copy begun after a drop, of what the origin had said before, is never taken for fresh: ``dropped`` tells.
"""

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scalekit.storage._mirror_copy import Copy, Writer, header_of, length_of, stored_in
from scalekit.storage._values import Stored

_PART = ".part"
_PATIENCE = 1.0
_POLL = 0.005


class Busy(OSError):
    """Somebody held the ledger for longer than anybody needs it."""


@dataclass(slots=True)
class Part:
    """A copy that this process writes. ``dropped`` is what the directory said before the origin was asked."""

    path: Path
    writer: Writer
    asked: int
    dropped: int


class Directory:
    """``location`` tells one origin from another whose copies are here too."""

    def __init__(self, path: Path, max_bytes: int, location: str) -> None:
        self.path, self.max_bytes, self._location = path, max_bytes, location
        self.clock = time.time_ns

    def find(self, key: str) -> tuple[Copy | None, int]:
        """The copy of ``key``, if there is a whole one, open; and what ``dropped`` says now."""
        dropped = self._dropped()
        path = self._path(key)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None, dropped
        try:
            facts, stored = os.fstat(fd), stored_in(fd)
            if stored is not None and stored.key == key and facts.st_size == length_of(stored.size):
                found, fd = Copy(fd, stored, facts.st_mtime_ns), -1
                return found, dropped
        finally:
            if fd >= 0:
                os.close(fd)
        self._unlink(path)
        return None, dropped

    def begin(self, stored: Stored, *, asked: int, dropped: int) -> Part | int | None:
        """A part to write, a descriptor of the one that is being written, or ``None``: there is no room."""
        header, length = header_of(stored), length_of(stored.size)
        if header is None or length > self.max_bytes:
            return None
        path = Path(f"{self._path(stored.key)}{_PART}")
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._ledger() as ledger:
            while (fd := _create(path)) is None:
                with suppress(FileNotFoundError):
                    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    if not _is_free(fd) and stored_in(fd) == stored:
                        return fd
                    os.close(fd)
                    path.unlink()  # nobody's; or of another version, and whoever writes it will find out
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(fd, header)
                if self._reserves(ledger, length):
                    part = Part(path, Writer(fd, stored), asked, dropped)
                    fd = -1
                    return part
            finally:
                if fd >= 0:
                    self._unlink(path)  # who drops its key has done so, and holds no ledger
                    os.close(fd)
        return None

    def finish(self, part: Part) -> None:
        """Let the copy appear, unless it was dropped meanwhile."""
        asked = part.asked if self._dropped() == part.dropped else 0
        os.utime(part.writer.fd, ns=(self.clock(), asked))
        with self._ledger(), suppress(FileNotFoundError):
            if _is_at(part.path, part.writer.fd):
                os.rename(part.path, part.path.with_suffix(""))

    def abandon(self, part: Part) -> None:
        """Remove what was written. What cannot be removed is nobody's, and goes with the next look."""
        with suppress(FileNotFoundError), self._ledger():
            if _is_at(part.path, part.writer.fd):
                part.path.unlink()

    def disown(self, key: str, fd: int) -> None:
        """Remove the part, open as ``fd``, of a process that does not go on; should it, there is no copy."""
        path = Path(f"{self._path(key)}{_PART}")
        with suppress(FileNotFoundError), self._ledger():
            if _is_at(path, fd):
                path.unlink()

    def drop(self, key: str) -> None:
        """Remove the copy of ``key``, and keep one that is being written from appearing."""
        path = self._path(key)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = self.path / "dropped"
        mark.touch(mode=0o600)
        os.utime(mark, ns=(self.clock(), max(time.time_ns(), self._dropped() + 1)))
        # In this order: what gets its name in between is under the second.
        self._unlink(Path(f"{path}{_PART}"))
        self._unlink(path)

    def _dropped(self) -> int:
        try:
            return os.stat(self.path / "dropped").st_mtime_ns
        except FileNotFoundError:
            return 0

    def _path(self, key: str) -> Path:
        return self.path / hashlib.sha256(f"{self._location}\0{key}".encode()).hexdigest()

    @contextmanager
    def _ledger(self) -> Generator[int, None, None]:
        fd = os.open(self.path / "ledger", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + _PATIENCE
            while not _is_free(fd, fcntl.LOCK_EX):
                if time.monotonic() > until:
                    raise Busy(errno.EBUSY, "the ledger of the copies is held by another process")
                time.sleep(_POLL)
            yield fd
        finally:
            os.close(fd)

    def _reserves(self, ledger: int, length: int) -> bool:
        noted = os.pread(ledger, 32, 0)
        used = int(noted) + length if noted.strip().isdigit() else None
        if used is None or used > self.max_bytes:
            used = self._evict()
        os.pwrite(ledger, b"%-32d" % used, 0)
        return used <= self.max_bytes  # not, if others are writing that much

    def _evict(self) -> int:
        """Remove what is nobody's or unused for longest until a tenth is free. What is left, in bytes."""
        used, copies = 0, []
        with os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.name.endswith(_PART):
                        used += self._length_of_part(Path(entry.path))
                    elif len(entry.name) == 64:
                        facts = entry.stat(follow_symlinks=False)
                        used += facts.st_size
                        copies.append((facts.st_atime_ns, facts.st_size, entry.path))
        copies.sort(reverse=True)
        while copies and used > self.max_bytes * 9 // 10:
            _, size, path = copies.pop()
            self._unlink(Path(path))
            used -= size
        return used

    def _length_of_part(self, path: Path) -> int:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # The one that is just being begun is held by this process, through another descriptor.
            if _is_free(fd):
                path.unlink()
                return 0
            stored = stored_in(fd)
            return 0 if stored is None else length_of(stored.size)
        finally:
            os.close(fd)

    def _unlink(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            path.unlink()


def _create(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None


def _is_free(fd: int, kind: int = fcntl.LOCK_SH) -> bool:
    """Whether nobody holds a lock on the file; then this descriptor does."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, fd: int) -> bool:
    return os.path.samestat(os.stat(path), os.fstat(fd))
