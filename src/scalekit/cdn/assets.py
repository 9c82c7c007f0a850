"""The assets of an application: their hashed names, their URLs, their contents.

Everything is computed once, when :class:`Assets` is built, and only from names and contents: every server
that has the same files has the same URLs, entity tags and bytes.
"""

import hashlib
from collections.abc import Iterable, Iterator
from copy import copy
from difflib import get_close_matches
from pathlib import Path
from typing import Self, cast
from urllib.parse import quote

from scalekit._options import check_count, check_kind
from scalekit._tally import Tally
from scalekit.cdn import _folder, _listed
from scalekit.cdn._asset import Asset
from scalekit.cdn._cdns import Cdns
from scalekit.cdn._counts import Counts as Counts
from scalekit.cdn._listed import entry_of
from scalekit.cdn._places import check_cdn, check_url
from scalekit.cdn._reported import of_pages
from scalekit.cdn.manifest import Manifest
from scalekit.errors import AssetNotFound, ConfigurationError
from scalekit.metrics import Metric

_VIEWS = 64


class Assets:
    """The files below a folder, each with a URL that changes when its content does.

    >>> assets = Assets("static", url="/static/", cdn="https://d111111abcdef8.cloudfront.net")
    >>> assets.url("logo.png")
    'https://d111111abcdef8.cloudfront.net/static/logo.3f2a9c01b4d5.png'

    Args:
        folder: where the files are. Read once, now; names that begin with a dot are left out.
        url: the path the application serves them under; begins and ends with ``/``.
        cdn: the CDN's address, such as ``"https://cdn.example.com"`` or, where it has a path of its own,
            ``"https://cdn.example.com/shop"``, to which ``url`` is added; without one (the default) the
            application serves its assets itself.
        max_age: seconds that a browser may keep a file it asked for without its hash; default 60.
        reload: for development: edited, new and deleted files are noticed without a restart, and nobody keeps
            a file without asking again, see :mod:`scalekit.cdn._reload`. Default ``False``.

    Raises:
        ConfigurationError: the folder, a link in it, or an option is not usable; the message says why.
    """

    #: The scripts that pages may fetch under their hashed names as modules, see :mod:`scalekit.cdn.scripts`.
    modules: frozenset[str]

    #: Whether files that change are noticed.
    reload = False

    def __new__(cls, *args: object, reload: bool = False, **options: object) -> Self:
        """Those that notice changes are of a class of their own: the others need not look."""
        if reload and cls is Assets:
            from scalekit.cdn._live import LiveAssets

            return cast("Self", object.__new__(LiveAssets))
        return super().__new__(cls)

    def __init__(
        self,
        folder: str | Path,
        *,
        url: str = "/static/",
        cdn: str | None = None,
        max_age: int = 60,
        reload: bool = False,
    ) -> None:
        if reload:
            raise ConfigurationError(
                f"reload=True is for Assets, not for {type(self).__name__}, made from it"
            )
        self._begin(url, cdn, max_age)
        self.folder: Path | None = Path(folder)
        found = _folder.read(self.folder, prefix=url)
        if found.doubtful:
            self.counts.add("doubtful", len(found.doubtful))
        self._take(found.assets, where=str(self.folder))

    @classmethod
    def from_manifest(
        cls,
        manifest: str | Path | Manifest,
        *,
        folder: str | Path | None = None,
        url: str = "/static/",
        cdn: str | None = None,
        max_age: int = 60,
        reload: bool = False,
    ) -> "Assets":
        """The assets that a manifest names: that of ``scalekit assets build``, Vite's, webpack's or Django's.

        >>> Assets.from_manifest("dist/manifest.json", folder="dist", cdn="https://cdn.example.com")
        >>> Assets.from_manifest("dist/.vite/manifest.json", folder="dist").url("src/main.js")
        '/static/assets/main-BRBmoGS9.js'

        Args:
            manifest: the file, or a :class:`Manifest` that was read already.
            folder: where the hashed files are; without it (the default) only the CDN has them, and requests
                for them are the application's.
            url: as for a folder; webpack's ``publicPath``.
            cdn: as for a folder.
            max_age: as for a folder.
            reload: for development: a manifest that was written again, by ``vite build --watch`` perhaps, is
                read again. Until it is whole, and its files are there, the last one counts. Default
                ``False``.

        Raises:
            ConfigurationError: ``url``, ``cdn``, the manifest or a file that it names is not usable.
        """
        if reload:
            from scalekit.cdn._live import LiveAssets

            return LiveAssets.of_manifest(manifest, folder=folder, url=url, cdn=cdn, max_age=max_age)
        self = cls.__new__(cls)
        self._begin(url, cdn, max_age)
        if not isinstance(manifest, Manifest):
            manifest = Manifest.load(manifest, url=url)
        self.folder = None if folder is None else Path(folder)
        self._take(_listed.read(manifest, self.folder), where=manifest.source)
        return self

    def _begin(self, url: str, cdn: str | None, max_age: int) -> None:
        self.prefix = check_url(url)
        self.max_age = check_count(max_age, option="max_age=", least=0, cure="it is in seconds")
        self.counts = Counts()
        self.served = Tally(
            "scalekit_cdn_assets_served",
            "Requests for assets, and for those that this release does not have (missing).",
            labels=["result"],
            known=("found", "missing"),
        )
        self.cdn = None if cdn is None else check_cdn(cdn, url=self.prefix)
        #: The CDNs that URLs of these assets may name in a page, whoever wrote it.
        self.cdns = Cdns(self.cdn)

    def _take(self, found: Iterable[Asset], *, where: str) -> None:
        self._where = where
        self._assets = {asset.name: asset for asset in found}
        self._hashed = {asset.hashed_name: asset for asset in self._assets.values()}
        self.modules = frozenset(asset.name for asset in self._assets.values() if asset.module)
        self._views: dict[str | None, Assets] = {}
        self._point(self.cdn)

    def _point(self, cdn: str | None) -> None:
        self.cdn = cdn
        start = f"{cdn or ''}{self.prefix}"
        self._urls = {name: start + quote(asset.hashed_name) for name, asset in self._assets.items()}
        #: For pages: the path of every asset, with and without its hash, as usually written, and its URL.
        self.links = {
            f"{self.prefix}{quote(name)}".encode(): self._urls[asset.name].encode()
            for asset in self._assets.values()
            for name in (asset.name, asset.hashed_name)
        }
        #: Eight hex digits that change with any URL: part of a rewritten page's entity tag.
        self.version = hashlib.sha256("\n".join(self._urls.values()).encode()).hexdigest()[:8]

    def at(self, cdn: str | None) -> "Assets":
        """The same files, and the same :attr:`counts`, with URLs at another CDN; ``None`` for none.

        Made once for each CDN, and kept for the 64 that were made last.

        Raises:
            ConfigurationError: ``cdn`` is no address, or has ``url`` at its end.
        """
        if cdn == self.cdn:
            return self
        view = self._views.get(cdn)
        if view is None:
            view = copy(self)
            view._point(None if cdn is None else check_cdn(cdn, url=self.prefix))
            # In a list: another thread may be here, too, and a dictionary must not change under an iterator.
            for oldest in list(self._views)[: 1 - _VIEWS]:
                self._views.pop(oldest, None)
            self._views[cdn] = view
            self.cdns.know(lambda: [view.cdn for view in list(self._views.values())])
        return view

    def now(self) -> "Assets":
        """These, as they are at this moment: to write one page with, where ``reload`` may change them."""
        return self

    def url(self, name: str) -> str:
        """The URL of an asset: a look-up, for templates.

        Around an application that has the middleware it does not matter which CDN it names: a page has all of
        its URLs at the CDN that it is given.

        Raises:
            AssetNotFound: there is no file of that name.
        """
        try:
            return self._urls[name]
        except KeyError:
            raise self._not_found(name) from None

    def path(self, name: str) -> str:
        """The same without the CDN, such as ``"/static/icons.3f2a9c01b4d5.svg"``: for what a browser takes
        from the page's own host only, such as a worker or the ``<use>`` of an SVG.

        Raises:
            AssetNotFound: there is no file of that name.
        """
        asset = self._assets.get(name)
        if asset is None:
            raise self._not_found(name)
        return self.prefix + quote(asset.hashed_name)

    def styles(self, name: str) -> list[str]:
        """The URLs of the style sheets that a page needs for a script that Vite has built, in their order.

        They are those that the script and its modules import; none with any other manifest, or a folder.

        Raises:
            AssetNotFound: there is no file of that name.
        """
        assets = self.now()
        asset = assets.get(name)
        if asset is None:
            raise self._not_found(name)
        return [assets.url(style) for style in asset.styles]

    def _not_found(self, name: str) -> AssetNotFound:
        close = get_close_matches(str(name), self._urls, 1)
        return AssetNotFound(name, where=self._where, close=close[0] if close else None, reload=self.reload)

    def get(self, name: str) -> Asset | None:
        """The asset called ``name``, or ``None``."""
        return self._assets.get(name)

    def get_hashed(self, name: str) -> Asset | None:
        """The asset whose *hashed* name is ``name``, or ``None``."""
        return self._hashed.get(name)

    def metrics(self) -> Iterator[Metric]:
        """What pages and requests for assets were counted here, see :class:`scalekit.metrics.Measured`."""
        yield from of_pages(self.counts.as_dict())
        yield self.served.metric()

    def manifest(self) -> Manifest:
        """What :meth:`from_manifest` needs to make the same of the hashed files, wherever they are then."""
        return Manifest(map(entry_of, self), source=self._where)

    def __iter__(self) -> Iterator[Asset]:
        return iter(self._assets.values())

    def __len__(self) -> int:
        return len(self._assets)

    def __contains__(self, name: object) -> bool:
        return name in self._assets

    def __repr__(self) -> str:
        return f"<Assets {self._where}: {len(self)} files, url={self.prefix!r}, cdn={self.cdn!r}>"


def check_assets(assets: Assets) -> Assets:
    """What a middleware was given, if it is that."""
    check_kind(assets, Assets, option="assets=", wanted="the files of a folder, such as Assets('static')")
    return assets
