"""``Assets(..., reload=True)``: the same questions, answered by whichever assets there are now.

Rules:

* What changes is not stored here: it is that of :meth:`LiveAssets.now`, each time it is asked for.
* Nobody keeps a file without asking for it again, whatever its name.
* A hash that a file had earlier gets the file as it is now: a page that was loaded before a change goes on
  working.
"""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

from scalekit._options import check_kind
from scalekit.cdn._asset import Asset
from scalekit.cdn._files import Files, Served, is_hashed, named
from scalekit.cdn._places import check_cdn
from scalekit.cdn._reload import FolderSource, ManifestSource, Source, Watch
from scalekit.cdn._representation import Room
from scalekit.cdn.assets import Assets
from scalekit.cdn.fingerprint import plain_name
from scalekit.cdn.manifest import Manifest
from scalekit.errors import ConfigurationError

_CHANGING = frozenset({"_assets", "_hashed", "_urls", "links", "modules", "version"})


class LiveAssets(Assets):
    """Assets that are read again when they were changed; see :class:`Assets` for the arguments."""

    reload = True

    def __init__(
        self,
        folder: str | Path,
        *,
        url: str = "/static/",
        cdn: str | None = None,
        max_age: int = 60,
        reload: bool = True,
    ) -> None:
        self._begin(url, cdn, max_age)
        self.folder = Path(folder)
        self._watch_over(FolderSource(self.folder, prefix=url), where=str(self.folder))

    @classmethod
    def of_manifest(
        cls,
        manifest: str | Path | Manifest,
        *,
        folder: str | Path | None,
        url: str,
        cdn: str | None,
        max_age: int,
    ) -> "LiveAssets":
        """As :meth:`Assets.from_manifest`."""
        if isinstance(manifest, Manifest):
            raise ConfigurationError(
                "reload=True needs the manifest's file, to read it again, not a Manifest that was read: give "
                "its path"
            )
        check_kind(manifest, (str, Path), option="manifest", wanted="the path of a manifest")
        self = cls.__new__(cls)
        self._begin(url, cdn, max_age)
        self.folder = None if folder is None else Path(folder)
        source = ManifestSource(Path(manifest), self.folder, prefix=url)
        self._watch_over(source, where=repr(str(manifest)))
        return self

    def _watch_over(self, source: Source, *, where: str) -> None:
        self._where = where
        self._former: dict[str, str] = {}
        self._watch = Watch(source, self._as_they_are)

    def _as_they_are(self, found: Sequence[Asset]) -> Assets:
        assets = Assets.__new__(Assets)
        assets._begin(self.prefix, self.cdn, self.max_age)
        assets.counts, assets.folder, assets.reload = self.counts, self.folder, True
        assets.cdns, assets.served = self.cdns, self.served
        assets._take(found, where=self._where)
        self._former |= {asset.hashed_name: asset.name for asset in found}
        return assets

    def now(self) -> Assets:
        """Assets that do not change any more: those of this moment."""
        return self._watch.look().at(self.cdn)

    def at(self, cdn: str | None) -> Assets:
        """The same files with URLs at another CDN, whichever files there are then."""
        if cdn == self.cdn:
            return self
        view = copy(self)
        view.cdn = None if cdn is None else check_cdn(cdn, url=self.prefix)
        return view

    def former(self, hashed_name: str) -> str | None:
        """The name of the asset that has had this hashed name, under this process or another."""
        return self._former.get(hashed_name) or plain_name(hashed_name)

    def __getattr__(self, name: str) -> Any:
        if name in _CHANGING:
            return getattr(self.now(), name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)


class LiveFiles(Files):
    """The files of such assets, as they are served."""

    def __init__(self, assets: Assets) -> None:
        super().__init__(assets)
        self.room = Room(0)

    def find(self, path: str) -> Served | None:
        """As :meth:`Files.find`, of what there is now."""
        if self._others is None or not path.startswith(self._assets.prefix):
            return None
        assets = self._assets.now()
        name = path[len(assets.prefix) :]
        asset = named(assets, name, self._others)
        if asset is not None:
            assets.served.add("found")
            return Served(asset, hashed=is_hashed(asset, name), lifetime=b"no-cache")
        live = self._assets  # or those of one moment, if that is what somebody wants to serve
        former = live.former(name) if isinstance(live, LiveAssets) else plain_name(name)
        asset = None if former is None else named(assets, former, self._others)
        if asset is None:
            return None
        assets.served.add("missing")
        return Served(asset, hashed=True, lifetime=b"no-store")
