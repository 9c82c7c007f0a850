"""FileStorage: objects as files under one directory, local or on a mount that servers share (NFS, EFS).

Rules:

* A write goes to a temporary file beside its target and is flushed to the disk; only then does it get its
  name, by ``link`` (create-only: the file system lets one of two writers win) or ``rename`` (overwrite), and
  the directory is flushed too. A reader, or a server that comes up after a crash, sees all of a file or none.
* What has its name keeps it, though the writer be cancelled at that moment, or the directory's flush fail.
* Temporary names start with a dot, which no key may; a writer that was killed leaves one behind, unseen.
* Every system call that may wait for a disk runs in a worker thread, and is waited for even by a cancelled
  caller, so that clean-up never runs beside the work it cleans up after.
"""

import errno
import os
import stat as stat_bits
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from scalekit.errors import ConfigurationError, InvalidKey, ObjectExists, StorageError, UploadFailed
from scalekit.storage._contract import Leftover, Opened, Source, Storage, Stored, check_base_url
from scalekit.storage._files_walk import draft_beside, drafts, strays
from scalekit.storage._media_types import content_type_for, type_for
from scalekit.storage._shield import Outcome, in_thread
from scalekit.storage._source import Body, cut
from scalekit.storage.checksums import Checksum
from scalekit.storage.keys import check_key, check_prefix

T = TypeVar("T")

# Large enough that the hop to a thread is small beside the write, small enough for hundreds of uploads.
_WRITE_SIZE = 1024 * 1024
_READ_SIZE = 256 * 1024


class FileStorage(Storage):
    """Files under ``directory``, which is made when the first object is stored.

    A file system keeps no media type: ``content_type`` is told from the key's extension, as any web server
    that serves the directory will do. Nor does it keep ``filename`` or a checksum.

    Args:
        directory: the root. Everything below it that is named like a key counts as an object.
        base_url: where :class:`scalekit.storage.serve.StorageFiles`, or a web server, serves the directory.
        mode: permissions of a stored file; the default lets a web server under another user read it.

    Raises:
        ConfigurationError: ``directory`` is a file.
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, base_url: str | None = "/media/", mode: int = 0o644
    ) -> None:
        self.directory = Path(directory).absolute()
        if os.path.isfile(self.directory):
            raise ConfigurationError(
                f"directory={str(self.directory)!r} is a file; give the path of a folder"
            )
        self.base_url = check_base_url(base_url)
        self.mode = mode

    async def put(
        self,
        key: str,
        source: Source,
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        size: int | None = None,
        checksum: Checksum | None = None,
        filename: str | None = None,
    ) -> Stored:
        target = self.directory / check_key(key)
        content_type_for(key, content_type)  # not kept, but a mistake is one here as well
        if not overwrite and _done(await in_thread(_stat, target), key) is not None:
            raise ObjectExists(key)  # before reading what would be thrown away
        created = await in_thread(_Draft.create, self.directory, target, self.mode)
        try:
            draft = _done(created, key)
            async with aclosing(cut(source, _WRITE_SIZE, size=size, checksum=checksum)) as pieces:
                async for body, _ in pieces:
                    _done(await in_thread(draft.write, body), key)
        except BaseException:
            if created.value is not None:
                (await in_thread(created.value.discard)).raise_if_cancelled()
            raise
        committed = await in_thread(draft.commit, overwrite)
        if isinstance(committed.error, FileExistsError):
            committed.raise_if_cancelled()
            raise ObjectExists(key)
        # From here on it stays, cancelled or not: removing it could remove what another has put in its place.
        stored = _stored(key, _done(committed, key))
        flushed = await in_thread(_sync_directory, target.parent)
        if isinstance(flushed.error, OSError):
            raise StorageError(
                f"{key!r} is stored, but a crash may take it: its directory was not flushed"
                f" ({flushed.error.strerror})"
            ) from flushed.error
        flushed.unwrap()
        return stored

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        path = self.directory / check_key(key)
        opened = await in_thread(_open, path)
        if opened.value is None:
            _done(opened, key, "read")
            return None
        fd, facts = opened.value
        if opened.cancelled:
            os.close(fd)
            raise opened.cancelled
        handle = _Handle(fd, key)
        end = facts.st_size if length is None else min(facts.st_size, offset + length)
        return Opened(
            _stored(key, facts), handle.chunks(offset, end), close=handle.aclose, fd=fd, path=str(path)
        )

    async def stat(self, key: str) -> Stored | None:
        facts = _done(await in_thread(_stat, self.directory / check_key(key)), key, "look up")
        return None if facts is None else _stored(key, facts)

    async def delete(self, key: str) -> None:
        # Directories stay: removing an empty one would race with a writer who is about to use it.
        _done(await in_thread(_unlink, self.directory / check_key(key)), key, "delete")

    async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        check_prefix(prefix)
        above, slash, start = prefix.rpartition("/")
        waiting = [above + slash]
        while waiting:
            name = waiting.pop()
            if name and not name.endswith("/"):
                if _is_key(name) and (stored := await self.stat(name)) is not None:
                    yield stored
            else:
                # A stack, so the last name first.
                names = _done(await in_thread(_entries, self.directory / name, start), name, "list")
                waiting += [name + entry for entry in names]
                start = ""  # below the first directory everything counts

    @property
    def location(self) -> str:
        return f"{self.directory.resolve()}/"

    def strays(self, prefix: str = "") -> AsyncGenerator[tuple[str, str], None]:
        return strays(self.directory, check_prefix(prefix))

    def leftovers(self, before: datetime, prefix: str = "") -> AsyncGenerator[Leftover, None]:
        return drafts(self.directory, check_prefix(prefix), before)


@dataclass(slots=True)
class _Draft:
    """A temporary file on its way to becoming an object."""

    fd: int
    path: Path
    target: Path

    @classmethod
    def create(cls, root: Path, target: Path, mode: int) -> "_Draft":
        path = draft_beside(target)
        try:
            _make_directories(root, target.parent)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        except OSError as error:
            if error.errno is None:  # in words of ours
                raise
            # What is wrong here is wrong with the folder: it cannot be made, written to, or is full.
            raise OSError(error.errno, f"{error.strerror}, in the folder {str(root)!r}") from error
        # What open() makes of the mode, the umask of the process decides. A mount that keeps none refuses.
        with suppress(OSError):
            os.fchmod(fd, mode)
        return cls(fd, path, target)

    def write(self, body: Body) -> None:
        for chunk in body.chunks:
            view = memoryview(chunk)
            while view:
                view = view[os.write(self.fd, view) :]

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

    def _link(self) -> None:
        try:
            os.link(self.path, self.target)
        except FileExistsError:
            # NFS repeats a request whose answer was lost: two names mean that the first one had worked.
            if os.fstat(self.fd).st_nlink != 2:
                if self.target.is_dir():
                    raise IsADirectoryError(None, "other keys start with this one and a slash") from None
                raise

    def discard(self) -> None:
        """Close, and remove the temporary name if it is still there."""
        os.close(self.fd)
        with suppress(FileNotFoundError):
            self.path.unlink()


class _Handle:
    """An open file that is read in worker threads."""

    def __init__(self, fd: int, key: str) -> None:
        self._fd: int | None = fd
        self._key = key

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        try:
            while start < end and self._fd is not None:
                read = await in_thread(os.pread, self._fd, min(_READ_SIZE, end - start), start)
                data = _done(read, self._key, "read")
                if not data:
                    break
                start += len(data)
                yield data
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _done(outcome: Outcome[T], key: str, what: str = "store") -> T:
    # Only what the disk says is translated; an OSError of the source is the caller's own.
    if isinstance(outcome.error, OSError) and outcome.cancelled is None:
        kind = UploadFailed if what == "store" else StorageError
        raise kind(f"cannot {what} {key!r}: {outcome.error.strerror}") from outcome.error
    return outcome.unwrap()


def _is_key(name: str) -> bool:
    try:
        check_key(name)
    except InvalidKey:
        return False
    return True


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
    _sync_directory(directory.parent)  # or a crash could take the directory, with the file that was promised


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open(path: Path) -> tuple[int, os.stat_result] | None:
    try:
        # Non-blocking, or a pipe among the files would hold the thread for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:  # what O_NOFOLLOW says to a link
            return None
        raise
    facts = os.fstat(fd)
    if stat_bits.S_ISREG(facts.st_mode):
        return fd, facts
    os.close(fd)
    return None


def _stat(path: Path) -> os.stat_result | None:
    try:
        facts = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return facts if stat_bits.S_ISREG(facts.st_mode) else None


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        path.unlink()


def _entries(directory: Path, start: str) -> list[str]:
    """The names that begin with ``start``, last one first. A directory sorts as its keys: with the slash."""
    try:
        with os.scandir(directory) as entries:
            found = [
                entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
                for entry in entries
                if entry.name.startswith(start) and not entry.name.startswith(".")
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, reverse=True)


def _stored(key: str, facts: os.stat_result) -> Stored:
    # Every write makes a new inode, so inode, time and size together change with the content. They are the
    # file's own, and so the same on every server that mounts it; a copy made by rsync has others.
    return Stored(
        key=key,
        size=facts.st_size,
        content_type=type_for(key),
        etag=f"{facts.st_ino:x}-{facts.st_mtime_ns:x}-{facts.st_size:x}",
        modified=datetime.fromtimestamp(facts.st_mtime, UTC),
    )
