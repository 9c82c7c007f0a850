"""The assets of a folder that nobody has built: hashed and rewritten when an application starts."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scalekit.cdn import _scan, css, scripts
from scalekit.cdn._asset import AssetFile, stamp
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


def read(folder: Path, *, prefix: str) -> Folder:
    """The files below ``folder``. What is odd about them is logged, once.

    Args:
        folder: where they are.
        prefix: the URL path that they live under.

    Raises:
        ConfigurationError: the folder, a link in it or a file's name is not usable.
    """
    found = _scan.files(folder)
    stats = {name: path.stat() for name, path in found.items()}
    digests: dict[str, str] = {}
    sources: dict[str, bytes] = {}
    references: dict[str, list[Reference]] = {}
    code: dict[str, scripts.Found] = {}
    for name, path in found.items():
        if name.lower().endswith(".css"):
            source = path.read_bytes()
            references[name] = css.references(source, name=name, prefix=prefix)
        elif scripts.is_script(name):
            source = path.read_bytes()
            code[name] = scripts.references(source, name=name, prefix=prefix)
            references[name] = code[name].references
        else:
            with path.open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
            continue
        digests[name] = hashlib.sha256(source).hexdigest()
        if any(reference.target in found for reference in references[name]):
            sources[name] = source
    names = {name: hashed_name(name, digests[name]) for name in found if name not in sources}
    rendered = render(sources, references, names)
    movable = scripts.modules(code, frozenset(found))
    assets = []
    for name, path in found.items():
        hashed, body = rendered.get(name) or (names[name], None)
        assets.append(
            AssetFile(
                name=name,
                hashed_name=hashed,
                content_type=content_type(name),
                digest=digests[name],
                path=path,
                size=stats[name].st_size,
                stamp=stamp(stats[name]),
                rendered=body,
                rendered_digest=hashlib.sha256(body).hexdigest() if body is not None else digests[name],
                verbatim=body is None,
                module=name in movable,
            )
        )
    doubtful = {name: script.doubt for name, script in code.items() if script.doubt is not None}
    missing = _missing_maps(references, found)
    if doubtful:
        _log.warning("scripts that are served as they are, for they were not understood: %s", _some(doubtful))
    if missing:
        _log.warning("source maps that are named and not there: %s", _some(missing))
    return Folder(assets, doubtful, missing)


def _missing_maps(references: Mapping[str, Iterable[Reference]], found: Mapping[str, Path]) -> dict[str, str]:
    return {
        name: reference.target
        for name, several in references.items()
        for reference in several
        if reference.kind == "map" and reference.target not in found
    }


def _some(facts: Mapping[str, str]) -> str:
    shown = ", ".join(f"{name!r:.200} ({fact:.200})" for name, fact in list(facts.items())[:_NAMED])
    return shown if len(facts) <= _NAMED else f"{shown} and {len(facts) - _NAMED} more"
