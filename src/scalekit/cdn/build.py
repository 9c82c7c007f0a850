"""Build assets before they are served: hashed files, precompressed variants and a manifest in one folder.

Rules:

* Every file is there before a manifest names it, and the manifest appears whole: a build that is killed, at
  any point, leaves the release that was there. :mod:`scalekit.cdn._built` says how.
* The files of the last releases stay, for pages that were sent before a deployment and for servers that have
  not got it yet. Older ones go after the new release is there, and only files that a build has brought.
* A second build of the same files writes nothing.
* What is read twice is compared: a file that changes meanwhile ends the build.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

from scalekit._options import check_count
from scalekit.cdn import _folder
from scalekit.cdn._asset import AssetFile
from scalekit.cdn._built import Built, changed, releases
from scalekit.cdn._listed import entry_of
from scalekit.cdn._media import compressible
from scalekit.cdn._places import check_url
from scalekit.cdn.compress import Compression, variant
from scalekit.cdn.manifest import SUFFIXES, Entry, Manifest
from scalekit.errors import ConfigurationError

__all__ = ["BuildChange", "BuildProgress", "BuildReport", "build", "releases"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildChange:
    """What became of one file of the built folder; ``size`` in bytes."""

    name: str
    action: Literal["written", "removed"]
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildProgress:
    """How far a build is: ``done`` of ``total`` bytes of the assets."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReport:
    """What a build did.

    Args:
        assets: how many there are.
        written: files that were not there, variants included.
        unchanged: files that were.
        removed: files that only releases named which are not kept.
        bytes_written: of the written ones.
        releases: how many are kept, this one included.
        doubtful: scripts that were not understood and are as they were, with the reason.
        missing_maps: style sheets and scripts whose source map is not there, with its name.
        missing_codings: codings that no variants were made in, for want of the extra ``compress``.
    """

    assets: int
    written: int
    unchanged: int
    removed: int
    bytes_written: int
    releases: int
    doubtful: dict[str, str]
    missing_maps: dict[str, str]
    missing_codings: tuple[str, ...]


def build(
    source: str | Path,
    out: str | Path,
    *,
    url: str = "/static/",
    keep: int = 3,
    compression: Compression = Compression(),
    jobs: int | None = None,
    on_change: Callable[[BuildChange], object] | None = None,
    on_progress: Callable[[BuildProgress], object] | None = None,
) -> BuildReport:
    """Build the assets of a folder into another; ``manifest.json`` there is for ``Assets.from_manifest``.

    >>> build("static", "dist")
    >>> assets = Assets.from_manifest("dist/manifest.json", folder="dist")

    Args:
        source: the folder of the assets.
        out: where to; made if it is not there.
        url: the path that they will be served under, as for ``Assets``; default ``"/static/"``.
        keep: releases whose files stay, this one included; default 3.
        compression: which variants are made.
        jobs: files at a time; default one a processor.
        on_change: called for each file that is written or removed.
        on_progress: called after each asset.

    Raises:
        ConfigurationError: a folder, a file or an option is not usable, another build into ``out`` is under
            way, or a file changed meanwhile.
    """
    check_count(keep, option="keep=", least=1, cure="1 keeps nothing but the new release")
    check_count(1 if jobs is None else jobs, option="jobs=", least=1, cure="None takes one a processor")
    source, out = Path(source), Path(out)
    _check_apart(source, out)
    found = _folder.read(source, prefix=check_url(url))
    built = Built(out)
    with built.lock():
        work = _Build(built, compression, on_change, on_progress)
        work.run(found.assets, jobs or os.cpu_count() or 1)
        kept = work.prune(keep)
    return BuildReport(
        assets=len(found.assets),
        written=work.written,
        unchanged=work.unchanged,
        removed=work.removed,
        bytes_written=work.bytes_written,
        releases=kept,
        doubtful=found.doubtful,
        missing_maps=found.missing_maps,
        missing_codings=compression.missing,
    )


class _Build:
    """One build, with the folder locked."""

    def __init__(
        self,
        built: Built,
        compression: Compression,
        on_change: Callable[[BuildChange], object] | None,
        on_progress: Callable[[BuildProgress], object] | None,
    ) -> None:
        self.built = built
        self.levels = compression.levels
        self.on_change, self.on_progress = on_change, on_progress
        self.written = self.unchanged = self.removed = self.bytes_written = 0

    def run(self, assets: list[AssetFile], jobs: int) -> None:
        """Write what is not there, and then the manifest."""
        self.built.begin()
        before = self.built.entries(self.levels)
        entries: list[Entry] = []
        missing: list[AssetFile] = []
        for asset in assets:
            entry = self._as_before(asset, before)
            if entry is None:
                missing.append(asset)
            else:
                entries.append(entry)
                self.unchanged += len(entry.files)
        if missing:
            self._tell_removed(self.built.announce(Manifest(map(self._planned, missing))))
            entries += self._make(missing, jobs)
        self.built.publish(Manifest(entries), self.levels)

    def prune(self, keep: int) -> int:
        """Take away what only older releases need; how many are kept."""
        self._tell_removed(self.built.prune(keep))
        return len(self.built.numbered("json"))

    def _tell_removed(self, gone: Iterable[tuple[str, int]]) -> None:
        for name, size in gone:
            self.removed += 1
            self._tell(BuildChange(name=name, action="removed", size=size))

    def _as_before(self, asset: AssetFile, before: Mapping[str, Entry]) -> Entry | None:
        """The entry of an asset whose files are all there, by what an earlier build says of them."""
        known = before.get(asset.hashed_name)
        if known is None or known.digest != asset.rendered_digest:
            return None
        if self.built.size(known.hashed_name) != known.size:
            return None
        if any(self.built.size(variant) <= 0 for variant in known.files[1:]):
            return None
        return replace(entry_of(asset), encodings=known.encodings)

    def _planned(self, asset: AssetFile) -> Entry:
        """With every variant that it may get."""
        codings = tuple(sorted(self.levels)) if compressible(asset.name) else ()
        return replace(entry_of(asset), encodings=codings)

    def _make(self, assets: list[AssetFile], jobs: int) -> list[Entry]:
        """Compress and write, several at a time: compressors let other threads run."""
        total, done, entries = sum(asset.size for asset in assets), 0, []
        pool = ThreadPoolExecutor(jobs)
        try:
            futures = {pool.submit(self._make_one, asset): asset for asset in assets}
            for future in as_completed(futures):
                entry, changes = future.result()
                entries.append(entry)
                for change in changes:
                    self.written += 1
                    self.bytes_written += change.size
                    self._tell(change)
                self.unchanged += len(entry.files) - len(changes)
                done += futures[future].size
                if self.on_progress is not None:
                    self.on_progress(BuildProgress(done=done, total=total))
        finally:
            pool.shutdown(cancel_futures=True)
        return entries

    def _make_one(self, asset: AssetFile) -> tuple[Entry, list[BuildChange]]:
        entry = entry_of(asset)
        if not compressible(asset.name) and asset.rendered is None:
            if self.built.size(asset.hashed_name) == asset.size:
                return entry, []
            self.built.copy(asset.path, asset.hashed_name, asset.rendered_digest)
            return entry, [BuildChange(name=asset.hashed_name, action="written", size=asset.size)]
        body = asset.path.read_bytes() if asset.rendered is None else asset.rendered
        if sha256(body).hexdigest() != asset.rendered_digest:
            raise changed(asset.path)
        bodies = {asset.hashed_name: body}
        if self.built.size(asset.hashed_name) == len(body):
            del bodies[asset.hashed_name]
        codings = []
        for coding, level in self.levels.items():
            smaller = variant(asset.name, body, coding, level)
            if smaller is not None:
                codings.append(coding)
                bodies[asset.hashed_name + SUFFIXES[coding]] = smaller
        for name, content in bodies.items():
            self.built.write(name, content)
        changes = [BuildChange(name=name, action="written", size=len(of)) for name, of in bodies.items()]
        return replace(entry, encodings=tuple(sorted(codings))), changes

    def _tell(self, change: BuildChange) -> None:
        if self.on_change is not None:
            self.on_change(change)


def _check_apart(source: Path, out: Path) -> None:
    one, other = source.resolve(), out.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise ConfigurationError(
            f"{str(out)!r} and {str(source)!r} are one folder, or one is inside of the other; build into a "
            "folder beside it"
        )
