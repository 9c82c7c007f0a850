"""What is served under which path, and for how long."""

from scalekit.cdn._asset import AssetFile
from scalekit.cdn._other_releases import OtherReleases
from scalekit.cdn._representation import Room, representations
from scalekit.cdn.assets import Assets
from scalekit.cdn.fingerprint import plain_name

FOREVER = b"public, max-age=31536000, immutable"


class Served:
    """What is served under one path.

    Args:
        asset: the asset; ``None`` when a file has that name with another hash only.
        hashed: whether it is asked for by its hashed name.
        lifetime: what its ``Cache-Control`` says.
    """

    __slots__ = ("asset", "coded", "codings", "plain")

    def __init__(self, asset: AssetFile | None, *, hashed: bool, lifetime: bytes) -> None:
        self.asset = asset
        if asset is not None:
            self.plain, self.coded = representations(asset, hashed=hashed, lifetime=lifetime)
            self.codings = tuple(self.coded)


MISSING = Served(None, hashed=True, lifetime=b"no-store")
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
        assets = self._assets
        known = self._known.get(path)
        if known is not None:
            assets.served.add("found")
            return known
        if self._others is None or not path.startswith(assets.prefix):
            return None
        name = path[len(assets.prefix) :]
        asset = named(assets, name, self._others)
        if asset is None:
            if plain_name(name) not in assets:
                return None
            assets.served.add("missing")
            return MISSING
        assets.served.add("found")
        hashed = is_hashed(asset, name)
        lifetime = FOREVER if hashed else b"public, max-age=%d" % assets.max_age
        known = self._known[path] = Served(asset, hashed=hashed, lifetime=lifetime)
        return known


def files_of(assets: Assets) -> Files:
    """The files of ``assets``, which may change or not."""
    if not assets.reload:
        return Files(assets)
    from scalekit.cdn._live import LiveFiles

    return LiveFiles(assets)


def named(assets: Assets, name: str, others: OtherReleases) -> AssetFile | None:
    """The file that has this name, or this hashed one, here or in another release."""
    asset = assets.get(name) or assets.get_hashed(name)
    if asset is None and plain_name(name) is not None:
        return others.get(name)
    assert asset is None or isinstance(asset, AssetFile)  # there is a folder
    return asset


def is_hashed(asset: AssetFile, name: str) -> bool:
    """Whether that is the one with its hash."""
    return asset.immutable and asset.hashed_name == name
