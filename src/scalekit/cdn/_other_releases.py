"""Hashed files of other releases than a server's own: those before it, and those that came since.

In a rolling deployment a page of one release is in the browser, and its files are asked of a server with
another. Both have what ``scalekit assets build`` has kept in their folder, see :mod:`scalekit.cdn._built`.

Rules:

* A file counts when a manifest in ``.scalekit/releases/`` names it, and is as long as that says.
* What is there is listed when a hashed name is asked for that nobody has, and manifests are read again only
  if there are others: a release that was copied here after this server began is found, too.
* What cannot be read is passed over, and logged once: it is no release of this server.
"""

import logging
import os
from pathlib import Path
from threading import Lock

from scalekit.cdn import _listed
from scalekit.cdn._asset import AssetFile
from scalekit.cdn.manifest import Entry, Manifest
from scalekit.errors import ConfigurationError

RELEASES = ".scalekit/releases"

_log = logging.getLogger("scalekit.cdn")


class OtherReleases:
    """Those in a folder.

    Args:
        folder: where the files are; one that no build has written has none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._read: dict[str, dict[str, Entry]] = {}

    def get(self, hashed_name: str) -> AssetFile | None:
        """The asset that another release has under that name, or ``None``."""
        for entries in self._releases().values():
            entry = entries.get(hashed_name)
            if entry is not None:
                try:
                    return _listed.file_of(entry, self._folder)
                except ConfigurationError as error:
                    _log.warning("a file of another release is not served: %s", error)
        return None

    def _releases(self) -> dict[str, dict[str, Entry]]:
        """By the names of their manifests, which are written once and never again."""
        try:
            there = {name for name in os.listdir(self._folder / RELEASES) if name.endswith(".json")}
        except OSError:
            return {}
        with self._lock:
            if there != self._read.keys():
                self._read = {name: self._read.get(name) or self._entries(name) for name in sorted(there)}
            return self._read

    def _entries(self, name: str) -> dict[str, Entry]:
        try:
            manifest = Manifest.load(self._folder / RELEASES / name)
        except ConfigurationError as error:
            _log.warning("another release is not served: %s", error)
            return {}
        return {entry.hashed_name: entry for entry in manifest.values() if entry.immutable}
