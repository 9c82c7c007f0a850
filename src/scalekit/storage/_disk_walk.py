"""What lies in a FileStorage's directory besides its objects."""

import os
import secrets
import stat as stat_bits
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from scalekit.errors import InvalidKey, StorageError
from scalekit.storage._shield import in_thread
from scalekit.storage._values import Leftover
from scalekit.storage.keys import check_key

_BEGIN, _END = ".scalekit-", ".tmp"


@dataclass(frozen=True, slots=True)
class _Entry:
    """``name`` is relative to the root."""

    name: str
    facts: os.stat_result

    def why_no_object(self) -> str | None:
        """Why it is none; ``None`` if it is one, or a directory of some."""
        try:
            check_key(self.name)
        except InvalidKey as error:
            return error.reason
        mode = self.facts.st_mode
        if stat_bits.S_ISLNK(mode):
            return "is a link"
        return None if stat_bits.S_ISREG(mode) or stat_bits.S_ISDIR(mode) else "is no regular file"


async def strays(root: Path, prefix: str) -> AsyncGenerator[tuple[str, str], None]:
    """The files that no key can name, and what is no file, each with the reason.

    Of a directory that no key can name only itself. What begins with a dot is nobody's object, and left out.
    """
    async for entry in _walk(root, prefix):
        if not os.path.basename(entry.name).startswith(".") and (why := entry.why_no_object()) is not None:
            yield entry.name, why


async def drafts(root: Path, prefix: str, before: datetime) -> AsyncGenerator[Leftover, None]:
    """The temporary files that have not been written to since ``before``."""
    async for entry in _walk(root, prefix):
        base, modified = os.path.basename(entry.name), datetime.fromtimestamp(entry.facts.st_mtime, UTC)
        if base.startswith(_BEGIN) and base.endswith(_END) and modified < before:
            yield Leftover(
                kind="temporary file",
                name=entry.name,
                modified=modified,
                size=entry.facts.st_size,
                remove=partial(_remove, root / entry.name),
            )


def draft_beside(target: Path) -> Path:
    """A name for a temporary file in the directory of ``target``, that no other has."""
    return target.parent / f"{_BEGIN}{secrets.token_hex(8)}{_END}"


async def _walk(root: Path, prefix: str) -> AsyncGenerator[_Entry, None]:
    """All below ``root`` whose name begins with ``prefix``; nothing in directories that no key can name."""
    waiting = [prefix.rpartition("/")[0]]
    while waiting:
        above = waiting.pop()
        scanned = await in_thread(_scan, root, above)
        if isinstance(scanned.error, OSError):
            raise StorageError(
                f"cannot list {str(root / above)!r}: {scanned.error.strerror}"
            ) from scanned.error
        for entry in scanned.unwrap():
            if entry.name.startswith(prefix):
                yield entry
            if stat_bits.S_ISDIR(entry.facts.st_mode) and entry.why_no_object() is None:
                below = entry.name + "/"
                if below.startswith(prefix) or prefix.startswith(below):
                    waiting.append(entry.name)


def _scan(root: Path, above: str) -> list[_Entry]:
    found: list[_Entry] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(root / above) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # removed since
                name = f"{above}/{entry.name}" if above else entry.name
                found.append(_Entry(name, entry.stat(follow_symlinks=False)))
    return found


async def _remove(path: Path) -> None:
    removed = await in_thread(partial(path.unlink, missing_ok=True))
    if isinstance(removed.error, OSError):
        raise StorageError(f"cannot remove {str(path)!r}: {removed.error.strerror}") from removed.error
    removed.unwrap()
