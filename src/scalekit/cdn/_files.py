"""What is served under which path."""

from scalekit.cdn._asset import AssetFile
from scalekit.cdn._other_releases import OtherReleases
from scalekit.cdn._representation import Room, representations
from scalekit.cdn.assets import Assets
from scalekit.cdn.fingerprint import plain_name


class Served:
    """What is served under one path.

    Args:
        asset: the asset; ``None`` when a file has that name with another hash only.
        hashed: whether it is asked for by its hashed name.
        max_age: seconds that a file asked for by another may be kept.
    """

    __slots__ = ("asset", "coded", "codings", "plain")

    def __init__(self, asset: AssetFile | None, *, hashed: bool, max_age: int) -> None:
        self.asset = asset
        if asset is not None:
            self.plain, self.coded = representations(asset, hashed=hashed, max_age=max_age)
            self.codings = tuple(self.coded)


MISSING = Served(None, hashed=True, max_age=0)
"""A path that no file is served under."""


class Files:
    """The files of ``assets``, as they are served."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets
        self._others = None if assets.folder is None else OtherReleases(assets.folder)
        self._known: dict[str, Served] = {}
        self.room = Room()

    def find(self, path: str) -> Served | None:
        """What is served under a request path.

        :data:`MISSING` for an asset's name with another hash; ``None`` for a path that is no asset's, or that
        of one whose file is only with the CDN.
        """
        known = self._known.get(path)
        if known is not None:
            return known
        assets = self._assets
        if assets.folder is None or not path.startswith(assets.prefix):
            return None
        name = path[len(assets.prefix) :]
        asset = assets.get(name) or assets.get_hashed(name)
        if asset is None:
            plain = plain_name(name)
            asset = None if plain is None or self._others is None else self._others.get(name)
            if asset is None:
                return MISSING if plain in assets else None
        assert isinstance(asset, AssetFile)  # there is a folder
        hashed = asset.immutable and asset.hashed_name == name
        known = self._known[path] = Served(asset, hashed=hashed, max_age=assets.max_age)
        return known
