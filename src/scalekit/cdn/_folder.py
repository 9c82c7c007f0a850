"""The assets of a folder that nobody has built: hashed and rewritten when an application starts."""

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scalekit.cdn import _scan, css, scripts
from scalekit.cdn._asset import AssetFile, Stamp, is_settled, stamp
from scalekit.cdn._media import content_type
from scalekit.cdn._references import Reference
from scalekit.cdn.fingerprint import hashed_name, render

_NAMED = 5
_log = logging.getLogger("scalekit.cdn")


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder has.

    Args:
        assets: its files, sorted by name.
        doubtful: scripts that were not understood and are served as they are, with the reason.
        missing_maps: style sheets and scripts that name a source map that is not there, with its name.
    """

    assets: list[AssetFile]
    doubtful: dict[str, str]
    missing_maps: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What was read of a file.

    Args:
        path: the file.
        stamp: what :func:`~scalekit.cdn._asset.stamp` said just before.
        digest: SHA-256 of it, in hex.
        settled: whether ``stamp`` is another after any further change.
        source: a style sheet or a script itself.
        references: what that refers to.
        script: what is known of a script.
    """

    path: Path
    stamp: Stamp
    digest: str
    settled: bool = field(compare=False)
    source: bytes = field(default=b"", compare=False)
    references: list[Reference] = field(default_factory=list, compare=False)
    script: scripts.Found | None = field(default=None, compare=False)


class Reader:
    """Reads a folder, and reads it again: then only those of its files that were changed.

    Args:
        folder: where they are.
        prefix: the URL path that they live under.
    """

    def __init__(self, folder: Path, *, prefix: str) -> None:
        self._folder, self._prefix = folder, prefix
        self._known: dict[str, _Facts] = {}
        self._logged: set[str] = set()

    def read(self) -> Folder:
        """The files below the folder. What is odd about them is logged, once.

        Raises:
            ConfigurationError: the folder, a link in it or a file's name is not usable.
        """
        return self._take(self._look())

    def read_again(self) -> Folder | None:
        """The same, or ``None`` when nothing is other than it was.

        Raises:
            ConfigurationError: as :meth:`read`.
            OSError: a file cannot be read; it may be gone since the folder was listed.
        """
        known = self._look()
        if known == self._known:
            self._known = known
            return None
        return self._take(known)

    def _look(self) -> dict[str, _Facts]:
        now = time.time_ns()
        return {name: self._facts(name, path, now) for name, path in _scan.files(self._folder).items()}

    def _facts(self, name: str, path: Path, now: int) -> _Facts:
        mark = stamp(path.stat())
        known = self._known.get(name)
        if known is not None and known.settled and (known.path, known.stamp) == (path, mark):
            return known
        settled = is_settled(mark, now)
        if name.lower().endswith(".css"):
            source, script = path.read_bytes(), None
            references = css.references(source, name=name, prefix=self._prefix)
        elif scripts.is_script(name):
            source = path.read_bytes()
            script = scripts.references(source, name=name, prefix=self._prefix)
            references = script.references
        else:
            with path.open("rb") as file:
                return _Facts(path, mark, hashlib.file_digest(file, "sha256").hexdigest(), settled)
        digest = hashlib.sha256(source).hexdigest()
        return _Facts(path, mark, digest, settled, source, references, script)

    def _take(self, known: dict[str, _Facts]) -> Folder:
        found = _assets(known)
        self._known = known
        self._log("scripts that are served as they are, for they were not understood", found.doubtful)
        self._log("source maps that are named and not there", found.missing_maps)
        return found

    def _log(self, what: str, facts: Mapping[str, str]) -> None:
        said = f"{what}: {_some(facts)}"
        if facts and said not in self._logged:
            self._logged.add(said)
            _log.warning("%s", said)


def read(folder: Path, *, prefix: str) -> Folder:
    """As :meth:`Reader.read`, for once."""
    return Reader(folder, prefix=prefix).read()


def _assets(known: Mapping[str, _Facts]) -> Folder:
    references = {name: facts.references for name, facts in known.items()}
    sources = {
        name: facts.source
        for name, facts in known.items()
        if any(reference.target in known for reference in facts.references)
    }
    names = {name: hashed_name(name, facts.digest) for name, facts in known.items() if name not in sources}
    rendered = render(sources, references, names)
    code = {name: facts.script for name, facts in known.items() if facts.script is not None}
    movable = scripts.modules(code, frozenset(known))
    assets = []
    for name, facts in known.items():
        hashed, body = rendered.get(name) or (names[name], None)
        assets.append(
            AssetFile(
                name=name,
                hashed_name=hashed,
                content_type=content_type(name),
                digest=facts.digest,
                path=facts.path,
                size=facts.stamp[0],
                stamp=facts.stamp,
                rendered=body,
                rendered_digest=hashlib.sha256(body).hexdigest() if body is not None else facts.digest,
                verbatim=body is None,
                module=name in movable,
            )
        )
    doubtful = {name: script.doubt for name, script in code.items() if script.doubt is not None}
    return Folder(assets, doubtful, _missing_maps(references, known))


def _missing_maps(
    references: Mapping[str, Iterable[Reference]], found: Mapping[str, object]
) -> dict[str, str]:
    return {
        name: reference.target
        for name, several in references.items()
        for reference in several
        if reference.kind == "map" and reference.target not in found
    }


def _some(facts: Mapping[str, str]) -> str:
    shown = ", ".join(f"{name!r:.200} ({fact:.200})" for name, fact in list(facts.items())[:_NAMED])
    return shown if len(facts) <= _NAMED else f"{shown} and {len(facts) - _NAMED} more"
