"""Assets whose URLs stay when their content changes, as an application is set up. Pure but for looking."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scalekit.ops.doctor import stack
from scalekit.ops.doctor.findings import Finding, finding
from scalekit.ops.doctor.walk import is_a

ASSETS = "scalekit.cdn.assets.Assets"
_CURE = "AssetMiddleware of scalekit.cdn around the application: it hashes the names, and the pages follow"


def judge(thing: Any, *, hashed: Sequence[Path], where: str) -> Iterator[Finding]:
    """What is wrong with one object of an application.

    Args:
        hashed: the folders whose files have hashed names.
    """
    if is_a(thing, ASSETS):
        plain = [asset.name for asset in thing if not asset.immutable]
        if plain:
            yield _plain(f"{len(plain)} of {len(thing)} assets, {plain[0]!r:.60} for one,", where)
        return
    folders: list[Any] = []
    if is_a(thing, "starlette.staticfiles.StaticFiles"):
        folders = thing.all_directories
    elif is_a(thing, "flask.app.Flask") and thing.has_static_folder:
        folders = [thing.static_folder]
    for folder in map(Path, folders):
        if _has_files(folder) and not any(_same(folder, other) for other in hashed):
            yield _plain(f"the files of {str(folder)!r}", where)


def folders(things: Sequence[Any]) -> list[Path]:
    """The folders of what is hashed."""
    return [thing.folder for thing in things if is_a(thing, ASSETS) and thing.folder is not None]


def judge_shield(layers: Sequence[stack.Layer], *, shielded: bool, where: str) -> Iterator[Finding]:
    """Whether pages that a CDN keeps can be had without it."""
    if stack.has(layers, stack.POLICY) and not shielded:
        yield finding(
            "origin-unshielded",
            what="a CDN may keep pages, and nothing refuses who asks the servers themselves",
            cure="ShieldMiddleware of scalekit.cdn, outermost; or a firewall that lets in the CDN alone "
            "(--origin URL finds out)",
            where=where,
        )


def _plain(what: str, where: str) -> Finding:
    return finding(
        "assets-without-hash",
        what=f"{what} have URLs that stay when they change: browsers and CDNs show old ones",
        cure=_CURE,
        where=where,
    )


def _has_files(folder: Path) -> bool:
    try:
        return any(path.is_file() for path in folder.rglob("*"))
    except OSError:
        return False


def _same(folder: Path, other: Path) -> bool:
    return folder.resolve() == other.resolve()
