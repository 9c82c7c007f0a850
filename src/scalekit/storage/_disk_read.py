"""Files that are read, looked up and listed. All but the handle is for worker threads."""

import errno
import os
import stat as stat_bits
from collections.abc import AsyncGenerator
from pathlib import Path

from scalekit.storage._disk_errors import done
from scalekit.storage._shield import in_thread

READ_SIZE = 256 * 1024

# A name that is too long for the file system is one that nothing has; O_NOFOLLOW says ELOOP to a link.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


class Handle:
    """An open file that is read in worker threads."""

    def __init__(self, fd: int, key: str, root: Path) -> None:
        self._fd: int | None = fd
        self._key, self._root = key, root

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """From byte ``start`` to ``end``, or to where the file ends now."""
        try:
            while start < end and self._fd is not None:
                read = await in_thread(os.pread, self._fd, min(READ_SIZE, end - start), start)
                data = done(read, self._key, self._root, "read")
                if not data:
                    break
                start += len(data)
                yield data
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Doing it twice is doing it once."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def open_file(path: Path) -> tuple[int, os.stat_result] | None:
    """A regular file for reading, with what is known of it; ``None`` if there is none."""
    try:
        # Non-blocking, or a pipe among the files would hold the thread for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    facts = os.fstat(fd)
    if stat_bits.S_ISREG(facts.st_mode):
        return fd, facts
    os.close(fd)
    return None


def look_up(path: Path) -> os.stat_result | None:
    """What is known of a regular file; ``None`` if there is none."""
    try:
        facts = path.lstat()
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    return facts if stat_bits.S_ISREG(facts.st_mode) else None


def unlink(path: Path) -> None:
    """Remove a file, if there is one."""
    try:
        path.unlink()
    except IsADirectoryError:
        return
    except OSError as error:
        if error.errno not in _ABSENT:
            raise


def entries(directory: Path, start: str) -> list[str]:
    """The names that begin with ``start``, last one first. A directory sorts as its keys: with the slash."""
    try:
        with os.scandir(directory) as found:
            names = [
                entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
                for entry in found
                if entry.name.startswith(start) and not entry.name.startswith(".")
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(names, reverse=True)
