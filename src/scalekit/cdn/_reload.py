"""Assets that change while a server runs: for development, and for ``reload=True`` only.

Rules:

* There is no thread: whoever asks for an asset looks first. A look asks the file system for the times of all
  files, and reads those that were changed; so it takes the longer the more there are. Looking takes at most
  a tenth of the time: the next one has to wait ten times as long as the last one took, at most a second.
* What cannot be used (a manifest that is half written, one whose files are not there yet, a file that was
  taken away while it was looked at) leaves the assets as they were. It is logged once, and looked at again.
* A file that was changed within the last two seconds is read at each look, whatever its times say: another
  change may leave the same ones.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol

from scalekit._forks import renew_in_children
from scalekit.cdn import _folder, _listed
from scalekit.cdn._asset import Asset, AssetFile, Stamp, is_settled, stamp
from scalekit.cdn.assets import Assets
from scalekit.cdn.manifest import Manifest
from scalekit.errors import ConfigurationError

_SHARE = 10
_LONGEST = 1.0
_log = logging.getLogger("scalekit.cdn")


class Source(Protocol):
    """Where assets come from."""

    def read(self) -> Sequence[Asset] | None:
        """All of them; ``None`` when they are what they were at the last call.

        Raises:
            ConfigurationError: they cannot be used; the next call may return all the same.
            OSError: a file could not be read; it may be gone since it was found.
        """
        ...


class FolderSource:
    """The files of a folder."""

    def __init__(self, folder: Path, *, prefix: str) -> None:
        self._reader = _folder.Reader(folder, prefix=prefix)

    def read(self) -> Sequence[Asset] | None:
        found = self._reader.read_again()
        return None if found is None else found.assets


class ManifestSource:
    """What a manifest names, of ours or another tool's."""

    def __init__(self, manifest: Path, folder: Path | None, *, prefix: str) -> None:
        self._manifest, self._folder, self._prefix = manifest, folder, prefix
        self._assets: list[Asset] | None = None
        self._mark: Stamp | None = None
        self._settled = False

    def read(self) -> Sequence[Asset] | None:
        now = time.time_ns()
        mark = _mark(self._manifest)
        if self._settled and mark == self._mark and all(map(_is_same, self._assets or ())):
            return None
        self._settled = False
        assets = list(_listed.read(Manifest.load(self._manifest, url=self._prefix), self._folder))
        marks = [mark, *(asset.stamp for asset in assets if isinstance(asset, AssetFile))]
        self._settled = all(each is not None and is_settled(each, now) for each in marks)
        self._mark = mark
        if assets == self._assets:
            return None
        self._assets = assets
        return assets


def _mark(path: Path) -> Stamp | None:
    try:
        return stamp(os.stat(path))
    except OSError:
        return None


def _is_same(asset: Asset) -> bool:
    if not isinstance(asset, AssetFile):
        return True
    if _mark(asset.path) != asset.stamp:
        return False
    return all(_mark(variant.path) == variant.stamp for variant in asset.variants)


class Watch:
    """The assets of a source as they are now, or as they were when they could be used last.

    Args:
        source: where they come from.
        make: assets of what was found.

    Raises:
        ConfigurationError: the source cannot be used from the start.
    """

    def __init__(self, source: Source, make: Callable[[Sequence[Asset]], Assets]) -> None:
        self._source, self._make = source, make
        self._problem = ""
        self._due = 0.0
        self._current = make(source.read() or ())
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        """A lock that is held elsewhere would be for ever."""
        self._lock = Lock()

    def look(self) -> Assets:
        """The assets; looks at them if it is time to."""
        if time.monotonic() < self._due:
            return self._current
        with self._lock:
            began = time.monotonic()
            if began >= self._due:
                self._look()
                took = time.monotonic() - began
                self._due = began + took + min(_SHARE * took, _LONGEST)
            return self._current

    def _look(self) -> None:
        try:
            found = self._source.read()
        except FileNotFoundError:
            return  # it went after its folder was listed, as editors' own files do; the next look misses it
        except (ConfigurationError, OSError) as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.warning("the assets stay as they were: %s", error)
            return
        if found is not None:
            self._current = self._make(found)
            _log.info("the assets have changed: %r", self._current)
        self._problem = ""
