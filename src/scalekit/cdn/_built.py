"""The folder that assets are built into: its files, its releases and what a killed build left there.

Rules:

* ``manifest.json`` is the current release. ``.scalekit/releases/`` has the manifests of all that are kept,
  by number; a number is never given twice.
* A release is ``writing`` before its first file is there, ``json`` when all are, and ``removing`` before the
  first is taken away. So at every moment nothing that a ``json`` names is missing, and everything that might
  be there is named by something.
* What a build has written that did not come to its end the next one uses, or takes away before it writes.
* A file appears whole: it is written in ``.scalekit/tmp/`` and renamed.
* One build at a time works on a folder; a lock that ends with its process keeps others out.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from scalekit.cdn.manifest import FORMAT, Entry, Manifest
from scalekit.errors import ConfigurationError

MANIFEST = "manifest.json"
_OWN, _LEVELS = ".scalekit", "levels.json"
_CHUNK = 1024 * 1024
_RELEASE = re.compile(r"(\d{6,18})\.(json|writing|removing)")


class Built:
    """One such folder, made if it is not there.

    Args:
        root: where it is.

    Raises:
        ConfigurationError: it cannot be made or is no folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._own = root / _OWN
        self._releases, self._tmp = self._own / "releases", self._own / "tmp"
        self._numbers = count()
        try:
            for folder in (self._releases, self._tmp):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{str(root)!r} cannot be built into: {error.strerror}") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Nobody else builds into the folder meanwhile.

        Raises:
            ConfigurationError: somebody does.
        """
        with (self._own / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigurationError(
                    f"another build into {str(self.root)!r} is under way; wait for it to end"
                ) from error
            yield

    # Files.

    def size(self, name: str) -> int:
        """Of a file; -1 when it is not there."""
        try:
            return os.stat(self.root / name).st_size
        except (FileNotFoundError, NotADirectoryError):
            return -1

    def write(self, name: str, body: bytes) -> None:
        """Let a file appear, or take another's place."""
        draft = self._tmp / str(next(self._numbers))
        draft.write_bytes(body)
        self._place(draft, name)

    def _remove(self, name: str) -> bool:
        """Take a file away, and its folders if they are empty then; whether it was there."""
        path = self.root / name
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        for folder in path.parents:
            if folder == self.root or any(folder.iterdir()):
                break
            folder.rmdir()
        return True

    def copy(self, source: Path, name: str, digest: str) -> None:
        """Let a copy of ``source`` appear, which has that SHA-256.

        Raises:
            ConfigurationError: it has another by now.
        """
        draft = self._tmp / str(next(self._numbers))
        whole = hashlib.sha256()
        with source.open("rb") as file, draft.open("wb") as copied:
            while chunk := file.read(_CHUNK):
                whole.update(chunk)
                copied.write(chunk)
        if whole.hexdigest() != digest:
            raise changed(source)
        self._place(draft, name)

    def _place(self, draft: Path, name: str) -> None:
        path = self.root / name
        try:
            os.replace(draft, path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(draft, path)

    # Releases.

    def begin(self) -> None:
        """Take away the drafts of a killed build, and take on a release whose own folder was not copied.

        Raises:
            ConfigurationError: ``manifest.json`` is not ours, or broken.
        """
        for draft in self._tmp.iterdir():
            draft.unlink()
        self._draft: Path | None = None
        path = self.root / MANIFEST
        if not path.exists():
            return
        content = path.read_bytes()
        try:
            if FORMAT.encode() not in content:
                raise ConfigurationError(f"{str(path)!r} is no manifest of scalekit")
            Manifest.from_bytes(content, source=repr(str(path)))
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}; build into another folder, or remove that file") from error
        if not self.numbered("json"):
            self._record("json", content)

    def numbered(self, state: str) -> list[Path]:
        """The releases in a state, oldest first."""
        return [path for _, path in sorted(self._all()) if path.suffix == f".{state}"]

    def _all(self) -> list[tuple[int, Path]]:
        found = [(_RELEASE.fullmatch(path.name), path) for path in self._releases.iterdir()]
        return [(int(match[1]), path) for match, path in found if match is not None]

    def _record(self, state: str, manifest: bytes) -> Path:
        number = max((number for number, _ in self._all()), default=0) + 1
        path = self._releases / f"{number:06d}.{state}"
        self.write(str(path.relative_to(self.root)), manifest)
        return path

    def entries(self, levels: Mapping[str, int]) -> dict[str, Entry]:
        """By hashed name what the releases that are kept say, if their variants were made at these levels."""
        try:
            if json.loads((self._own / _LEVELS).read_bytes()) != levels:
                return {}
        except (FileNotFoundError, ValueError):
            return {}
        manifests = [Manifest.load(path) for path in self.numbered("json")]
        return {entry.hashed_name: entry for manifest in manifests for entry in manifest.values()}

    def announce(self, manifest: Manifest) -> list[tuple[str, int]]:
        """Say which files may be there from now on.

        What builds that failed have left, and this one cannot use, goes first: on a disk that they have
        filled there is no room otherwise. The answer is the names and sizes of it.
        """
        left = [*self.numbered("writing"), *self.numbered("removing")]
        gone = list(self._remove_files(left, self._needed() | manifest.files))
        self._draft = self._record("writing", manifest.to_bytes())
        for path in left:
            path.unlink()
        return gone

    def publish(self, manifest: Manifest, levels: Mapping[str, int]) -> None:
        """Make this the current release; nothing is written if it is."""
        content = manifest.to_bytes()
        same = [path for path in self.numbered("json") if path.read_bytes() == content]
        if not same or same[-1] != self.numbered("json")[-1]:
            self._record("json", content)
            for path in same:
                path.unlink()
        for name, body in ((f"{_OWN}/{_LEVELS}", json.dumps(levels).encode()), (MANIFEST, content)):
            path = self.root / name
            if not path.exists() or path.read_bytes() != body:
                self.write(name, body)
        if self._draft is not None:
            self._draft.unlink()

    def prune(self, keep: int) -> Iterator[tuple[str, int]]:
        """Take away what only older releases, or killed builds, name; yields names and sizes."""
        for path in self.numbered("json")[:-keep]:
            path.rename(path.with_suffix(".removing"))
        needed = self._needed()
        for path in [*self.numbered("writing"), *self.numbered("removing")]:
            yield from self._remove_files([path], needed)
            path.unlink()

    def _needed(self) -> frozenset[str]:
        return frozenset(file for path in self.numbered("json") for file in Manifest.load(path).files)

    def _remove_files(self, records: list[Path], needed: frozenset[str]) -> Iterator[tuple[str, int]]:
        for name in sorted({file for path in records for file in Manifest.load(path).files} - needed):
            size = self.size(name)
            if self._remove(name):
                yield name, size


def changed(path: Path) -> ConfigurationError:
    """The error that a file is another than it was when the build began."""
    return ConfigurationError(
        f"{str(path)!r} changed while it was built; build again when nobody writes to it"
    )


def releases(folder: str | Path) -> list[Manifest]:
    """The manifests of the releases that are in a built folder, oldest first; the last is the newest.

    Empty when nothing was built there, or it was copied without its hidden files.

    Raises:
        ConfigurationError: one of them is broken.
    """
    found = (Path(folder) / _OWN / "releases").glob("*.json")
    return [Manifest.load(path) for path in sorted(found, key=lambda path: (len(path.name), path.name))]
