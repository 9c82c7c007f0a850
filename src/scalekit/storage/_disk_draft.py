"""A file on its way to becoming an object: under a temporary name until all of it is on the disk."""

import errno
import os
import stat as stat_bits
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from scalekit.storage._disk_walk import draft_beside
from scalekit.storage._source import Body

# Takes a disk a second at most, for which a cancelled caller waits.
_TAKE_SIZE = 64 * 1024 * 1024
_COPY_SIZE = 1024 * 1024

# Two file systems, or one that cannot, or a kernel or a sandbox (EPERM) without this call.
_NOT_HERE = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM)


@dataclass(slots=True)
class Draft:
    """All of it is for worker threads."""

    fd: int
    path: Path
    target: Path

    @classmethod
    def create(cls, root: Path, target: Path, mode: int, overwrite: bool) -> Self:
        """A draft beside ``target``, below ``root``."""
        path = draft_beside(target)
        _check_target(target, overwrite)
        _make_directories(root, target.parent)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        # What open() makes of the mode, the umask of the process decides. A mount that keeps none refuses.
        with suppress(OSError):
            os.fchmod(fd, mode)
        return cls(fd, path, target)

    def write(self, body: Body) -> None:
        """Append ``body``."""
        for chunk in body.chunks:
            self._append(chunk)

    def take(self, fd: int, offset: int, count: int) -> int:
        """Append up to ``count`` bytes of another file, by the kernel if it can; returns how many it were.

        Where a file system can share blocks between files, that is all the kernel does. A hard link would
        cost as little, but two names of one file change together if another program writes to one in place.
        """
        taken = self._copied(fd, offset, min(count, _TAKE_SIZE))
        if taken == 0:  # some file systems copy nothing and call it done; what read() says is so
            content = os.pread(fd, min(count, _COPY_SIZE), offset)
            self._append(content)
            taken = len(content)
        return taken

    def _copied(self, fd: int, offset: int, count: int) -> int:
        if sys.platform != "linux":
            return 0
        try:
            return os.copy_file_range(fd, self.fd, count, offset)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            return 0

    def commit(self, overwrite: bool) -> os.stat_result:
        """Give the file, whole and on the disk, its name, and let go of it. It is discarded if that fails."""
        try:
            os.fsync(self.fd)
            if overwrite:
                os.replace(self.path, self.target)
            else:
                self._link()
            return os.fstat(self.fd)
        finally:
            self.discard()

    def discard(self) -> None:
        """Close, and remove the temporary name if it is still there."""
        os.close(self.fd)
        with suppress(FileNotFoundError):
            self.path.unlink()

    def _append(self, chunk: bytes | bytearray | memoryview) -> None:
        view = memoryview(chunk)
        while view:
            view = view[os.write(self.fd, view) :]

    def _link(self) -> None:
        try:
            os.link(self.path, self.target)
        except FileExistsError:
            # NFS repeats a request whose answer was lost: two names mean that the first one had worked.
            if os.fstat(self.fd).st_nlink != 2:
                _check_target(self.target, overwrite=False)
                raise


def sync_directory(directory: Path) -> None:
    """Flush the names in ``directory`` to the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_target(target: Path, overwrite: bool) -> None:
    # Before anything is read that could never be stored: also says if the name is too long.
    with suppress(FileNotFoundError, NotADirectoryError):
        mode = os.lstat(target).st_mode
        if stat_bits.S_ISDIR(mode):
            raise IsADirectoryError(None, "other keys start with this one and a slash")
        if not stat_bits.S_ISREG(mode) and not overwrite:
            raise OSError(None, "something that is no file has this name, such as a link")


def _make_directories(root: Path, directory: Path) -> None:
    if directory.is_dir():
        return
    if directory != root:
        _make_directories(root, directory.parent)
        try:
            directory.mkdir(exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(None, "an object's key is the beginning of this one") from None
    else:
        directory.mkdir(parents=True, exist_ok=True)
    sync_directory(directory.parent)  # or a crash could take the directory, with the file that was promised
