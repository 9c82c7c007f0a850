"""What assets are called under their hashes: a file that ``scalekit assets build`` writes and servers read.

Rules:

* The same tree gives the same bytes on every host: names are sorted, and no time, path or host goes in.
  Which precompressed variants there are depends on the compressors that are installed.
* A manifest is checked when it is read, whole: a server does not start with one that it does not understand,
  or that names a place outside of its folder.
* Manifests of Vite, webpack and Django are read as well, see :mod:`scalekit.cdn._manifests`. They say
  less: no content hashes, no sizes.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalekit.cdn import _manifests
from scalekit.cdn._names import fault_of
from scalekit.errors import ConfigurationError

VERSION = 1
FORMAT = "scalekit.assets"
SUFFIXES = {"br": ".br", "gzip": ".gz", "zstd": ".zst"}
"""What is put behind a hashed file's name for its variant in a content coding."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?:; ?[\w-]+=[\w.-]+)*", re.ASCII)
_REBUILD = "build it again with 'scalekit assets build'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One asset of a manifest.

    Args:
        name: what it is called in pages and templates, such as ``"css/site.css"``.
        hashed_name: the file that is served, below the folder of the manifest's assets.
        content_type: for the ``Content-Type`` header.
        digest: SHA-256 of that file, in hex; ``None`` when the manifest does not say.
        size: that file's length in bytes; ``None`` when the manifest does not say.
        immutable: whether ``hashed_name`` changes with the content; default ``True``.
        verbatim: whether the bytes are those that the developer wrote, with nothing renamed in them;
            default ``True``.
        module: whether it is a script that a page may fetch as a module, see :mod:`scalekit.cdn.scripts`;
            default ``False``.
        encodings: content codings that there are precompressed variants in, sorted; see :data:`SUFFIXES`.
        styles: names of the style sheets that a page with this script needs; Vite's manifest says them.
    """

    name: str
    hashed_name: str
    content_type: str
    digest: str | None = None
    size: int | None = None
    immutable: bool = True
    verbatim: bool = True
    module: bool = False
    encodings: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files it has: the hashed one, and its variants."""
        return self.hashed_name, *(self.hashed_name + SUFFIXES[coding] for coding in self.encodings)


class Manifest(Mapping[str, Entry]):
    """Entries by name, sorted.

    Args:
        entries: in any order.
        source: where they come from, for error messages; default ``"the manifest"``.
    """

    def __init__(self, entries: Iterable[Entry], *, source: str = "the manifest") -> None:
        self._entries = {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}
        self.source = source

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Manifest {self.source}: {len(self)} assets>"

    @property
    def files(self) -> frozenset[str]:
        """The names of all files that it names, variants included."""
        return frozenset(name for entry in self._entries.values() for name in entry.files)

    def to_bytes(self) -> bytes:
        """The manifest as JSON, in our own format; equal manifests give equal bytes.

        Raises:
            ConfigurationError: an asset has a name that :meth:`load` would refuse: it has a newline, perhaps.
        """
        for name in self._entries:
            if fault := fault_of(name):
                raise ConfigurationError(f"asset {name!r:.200} {fault}; rename it")
        # An entry a line, for whoever compares two; json's own indentation takes twenty times as long.
        lines = (f"{_dumps(name)}: {_dumps(_record(entry))}" for name, entry in self._entries.items())
        head = f'{{"format": {_dumps(FORMAT)}, "version": {VERSION}, "assets": {{\n'
        return (head + ",\n".join(lines) + "\n}}\n").encode()

    @classmethod
    def load(cls, path: str | Path, *, url: str = "/static/") -> "Manifest":
        """Read a manifest of ours, Vite's, webpack's or Django's; which one it is shows in what it has.

        Args:
            path: the file.
            url: the path that the application has its assets under, which webpack puts before its names.

        Raises:
            ConfigurationError: there is none, or it cannot be used; the message names file, entry and cure.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"asset manifest {str(path)!r} cannot be read: {error.strerror}; build the assets first, or "
                "correct the path"
            ) from error
        return cls.from_bytes(data, source=repr(str(path)), url=url)

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str, url: str = "/static/") -> "Manifest":
        """As :meth:`load`, for what was read already; ``source`` names it in errors."""
        try:
            whole = json.loads(data, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"asset manifest {source} is no JSON: {error}; {_REBUILD}") from error
        if not isinstance(whole, dict):
            raise ConfigurationError(f"asset manifest {source} is no JSON object; {_REBUILD}")
        if whole.get("format") == FORMAT:
            return cls(_own(whole, source), source=source)
        found = _manifests.read(whole, source=source, url=url)
        return cls((Entry(**facts) for facts in found), source=source)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r:.200} stands in one object twice")
    return read


_dumps = json.JSONEncoder(ensure_ascii=False).encode


def _record(entry: Entry) -> dict[str, object]:
    record: dict[str, object] = {"file": entry.hashed_name, "type": entry.content_type}
    if entry.digest is not None:
        record["sha256"] = entry.digest
    if entry.size is not None:
        record["size"] = entry.size
    # What is usual is left out.
    for field, usual in (("immutable", True), ("verbatim", True), ("module", False)):
        if getattr(entry, field) is not usual:
            record[field] = not usual
    if entry.encodings:
        record["encodings"] = sorted(entry.encodings)
    if entry.styles:
        record["styles"] = list(entry.styles)
    return record


def _own(whole: dict[str, Any], source: str) -> Iterator[Entry]:
    version, assets = whole.get("version"), whole.get("assets")
    if version != VERSION or isinstance(version, bool):
        raise ConfigurationError(
            f"asset manifest {source} has version {version!r:.40}, and this scalekit reads {VERSION}; "
            "build it and serve it with the same scalekit"
        )
    if not isinstance(assets, dict):
        raise ConfigurationError(f"asset manifest {source} has no assets; {_REBUILD}")
    for name, record in assets.items():
        fault = fault_of(name) or _fault_in(record, assets)
        if fault is not None:
            raise ConfigurationError(f"asset manifest {source}: entry {name!r:.200} {fault}; {_REBUILD}")
        yield Entry(
            name=name,
            hashed_name=record["file"],
            content_type=record["type"],
            digest=record.get("sha256"),
            size=record.get("size"),
            immutable=record.get("immutable", True),
            verbatim=record.get("verbatim", True),
            module=record.get("module", False),
            encodings=tuple(record.get("encodings", ())),
            styles=tuple(record.get("styles", ())),
        )


def _fault_in(record: Any, names: dict[str, Any]) -> str | None:
    if not isinstance(record, dict):
        return "is no JSON object"
    file, kind, codings = record.get("file"), record.get("type"), record.get("encodings", [])
    digest, size = record.get("sha256", "0" * 64), record.get("size", 0)
    if not isinstance(file, str) or not isinstance(kind, str):
        return "has no 'file' or no 'type'"
    if fault := fault_of(file):
        return f"has a 'file' {file!r:.200} that {fault}"
    if not _TYPE.fullmatch(kind):
        return f"has a 'type' {kind!r:.100} that is no content type"
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        return "has a 'sha256' that is none"
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        return "has a 'size' that is none"
    if any(not isinstance(record.get(flag, True), bool) for flag in ("immutable", "verbatim", "module")):
        return "has an 'immutable', 'verbatim' or 'module' that is neither true nor false"
    if not isinstance(codings, list) or any(
        not isinstance(name, str) or name not in SUFFIXES for name in codings
    ):
        return f"has 'encodings' other than {', '.join(SUFFIXES)}"
    styles = record.get("styles", [])
    if not isinstance(styles, list) or any(not isinstance(name, str) or name not in names for name in styles):
        return "has 'styles' that are no names of assets"
    return None
