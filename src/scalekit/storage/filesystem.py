"""FileStorage: objects as files under one directory, local or on a mount that servers share (NFS, EFS).

Rules:

* A write goes to a temporary file beside its target and is flushed to the disk; only then does it get its
  name, by ``link`` (create-only: the file system lets one of two writers win) or ``rename`` (overwrite), and
  the directory is flushed too. A reader, or a server that comes up after a crash, sees all of a file or none.
* What has its name keeps it, though the writer be cancelled at that moment, or the directory's flush fail.
* Temporary names start with a dot, which no key may; a writer that was killed leaves one behind, unseen.
* What can never be stored is refused before the source is read: no rights, a name that is too long for the
  file system, a directory in the way.
* Every system call that may wait for a disk runs in a worker thread, and is waited for even by a cancelled
  caller, so that clean-up never runs beside the work it cleans up after.
"""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

from scalekit.errors import ConfigurationError, InvalidKey, ObjectExists, ObjectMissing, StorageError
from scalekit.metrics import Metric
from scalekit.storage._contract import Storage, check_base_url, check_sources
from scalekit.storage._counted import Counts, counted
from scalekit.storage._disk_draft import Draft, sync_directory
from scalekit.storage._disk_errors import done
from scalekit.storage._disk_read import Handle, entries, look_up, open_file, unlink
from scalekit.storage._disk_walk import drafts, strays
from scalekit.storage._extensions import content_type_for, type_for
from scalekit.storage._shield import in_thread
from scalekit.storage._source import cut
from scalekit.storage._values import Leftover, Opened, Source, Stored
from scalekit.storage.checksums import Checksum
from scalekit.storage.keys import check_key, check_prefix

# Large enough that the hop to a thread is small beside the write, small enough for hundreds of uploads.
_WRITE_SIZE = 1024 * 1024


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
        self._counts = Counts()

    def metrics(self) -> Iterator[Metric]:
        """What passed through this storage in this process, see :class:`scalekit.metrics.Measured`."""
        return self._counts.metrics()

    @counted
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
        content_type_for(check_key(key), content_type)  # not kept, but a mistake is one here as well

        async def fill(draft: Draft) -> None:
            async with aclosing(cut(source, _WRITE_SIZE, size=size, checksum=checksum)) as pieces:
                async for body, _ in pieces:
                    done(await in_thread(draft.write, body), key, self.directory)

        return await self._write(key, overwrite, fill)

    @counted
    async def compose(
        self,
        key: str,
        sources: Sequence[str],
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        filename: str | None = None,
    ) -> Stored:
        check_sources(key, sources)
        content_type_for(key, content_type)

        async def fill(draft: Draft) -> None:
            for source in sources:
                await self._append(draft, source, key)

        return await self._write(key, overwrite, fill)

    async def _append(self, draft: Draft, source: str, key: str) -> None:
        opened = await in_thread(open_file, self.directory / source)
        if opened.value is None:
            done(opened, source, self.directory, "read")
            raise ObjectMissing(source)
        fd, facts = opened.value
        try:
            opened.raise_if_cancelled()
            offset = 0
            while offset < facts.st_size:
                taken = done(
                    await in_thread(draft.take, fd, offset, facts.st_size - offset), key, self.directory
                )
                if not taken:
                    raise StorageError(f"{source!r} was cut short by another program while it was copied")
                offset += taken
        finally:
            os.close(fd)

    async def _write(self, key: str, overwrite: bool, fill: Callable[[Draft], Awaitable[None]]) -> Stored:
        target = self.directory / key
        if not overwrite and done(await in_thread(look_up, target), key, self.directory) is not None:
            raise ObjectExists(key)  # before reading what would be thrown away
        created = await in_thread(Draft.create, self.directory, target, self.mode, overwrite)
        try:
            draft = done(created, key, self.directory)
            await fill(draft)
        except BaseException:
            if created.value is not None:
                (await in_thread(created.value.discard)).raise_if_cancelled()
            raise
        committed = await in_thread(draft.commit, overwrite)
        if isinstance(committed.error, FileExistsError):
            committed.raise_if_cancelled()
            raise ObjectExists(key)
        # From here on it stays, cancelled or not: removing it could remove what another has put in its place.
        stored = _stored(key, done(committed, key, self.directory))
        flushed = await in_thread(sync_directory, target.parent)
        if isinstance(flushed.error, OSError):
            raise StorageError(
                f"{key!r} is stored, but a crash may take it: its directory was not flushed"
                f" ({flushed.error.strerror})"
            ) from flushed.error
        flushed.unwrap()
        return stored

    @counted
    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        path = self.directory / check_key(key)
        opened = await in_thread(open_file, path)
        if opened.value is None:
            done(opened, key, self.directory, "read")
            return None
        fd, facts = opened.value
        if opened.cancelled:
            os.close(fd)
            raise opened.cancelled
        handle = Handle(fd, key, self.directory)
        end = facts.st_size if length is None else min(facts.st_size, offset + length)
        return Opened(
            _stored(key, facts), handle.chunks(offset, end), close=handle.aclose, fd=fd, path=str(path)
        )

    async def stat(self, key: str) -> Stored | None:
        looked = await in_thread(look_up, self.directory / check_key(key))
        facts = done(looked, key, self.directory, "look up")
        return None if facts is None else _stored(key, facts)

    @counted
    async def delete(self, key: str) -> None:
        # Directories stay: removing an empty one would race with a writer who is about to use it.
        done(await in_thread(unlink, self.directory / check_key(key)), key, self.directory, "delete")

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
                scanned = await in_thread(entries, self.directory / name, start)
                waiting += [name + entry for entry in done(scanned, name, self.directory, "list")]
                start = ""  # below the first directory everything counts

    @property
    def location(self) -> str:
        return f"{self.directory.resolve()}/"

    def strays(self, prefix: str = "") -> AsyncGenerator[tuple[str, str], None]:
        return strays(self.directory, check_prefix(prefix))

    def leftovers(self, before: datetime, prefix: str = "") -> AsyncGenerator[Leftover, None]:
        return drafts(self.directory, check_prefix(prefix), before)


def _is_key(name: str) -> bool:
    try:
        check_key(name)
    except InvalidKey:
        return False
    return True


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
