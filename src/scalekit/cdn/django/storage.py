"""``STORAGES["staticfiles"]``: what ``{% static %}`` and ``collectstatic`` ask.

Rules:

* While ``DEBUG`` is on URLs are plain, as with Django's own storages: ``runserver`` finds files in the
  applications, and nothing need be collected.
* Files are looked at when the first URL is asked for, not before: ``collectstatic`` has to run without any.
* A name that no file has is an error, unless ``strict`` is off; then it has its plain URL. A folder has its
  plain URL, too.
"""

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings  # type: ignore[import-untyped]
from django.contrib.staticfiles.storage import (  # type: ignore[import-untyped]
    StaticFilesStorage,
    staticfiles_storage,
)

from scalekit.cdn._urls import split
from scalekit.cdn.assets import Assets
from scalekit.cdn.build import build
from scalekit.cdn.manifest import Manifest
from scalekit.errors import ConfigurationError

MANIFEST = "manifest.json"
_NOTHING = Manifest([])


class AssetStorage(StaticFilesStorage):  # type: ignore[misc]
    """Static files with hashed names, and their URLs at a CDN.

    Args:
        location: where ``collectstatic`` puts the files; default ``STATIC_ROOT``.
        base_url: the path that they are served under; default ``STATIC_URL``.
        built: the folder that ``collectstatic`` builds into, and that files are served from. Without one (the
            default) those in ``location`` are hashed when a server starts.
        cdn: the CDN's address, such as ``"https://cdn.example.com"``; without one (the default) URLs are
            paths.
        max_age: seconds that a browser may keep a file it asked for without its hash; default 60.
        reload: whether files that are collected while a server runs are noticed, see
            :class:`~scalekit.cdn.Assets`; default ``False``.
        strict: whether a name that no file has is an error; default ``True``.
        options: the other options of Django's ``FileSystemStorage``.

    Raises:
        ConfigurationError: ``base_url`` is no path.
    """

    def __init__(
        self,
        location: Any = None,
        base_url: str | None = None,
        *,
        built: str | Path | None = None,
        cdn: str | None = None,
        max_age: int = 60,
        reload: bool = False,
        strict: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(location, base_url, **options)
        self._prefix = str(self.base_url)
        if urlsplit(self._prefix).netloc:
            raise ConfigurationError(
                f"STATIC_URL={self._prefix!r} has a host in it; set the path alone, such as '/static/', and "
                "give the host as 'cdn' in the OPTIONS of STORAGES['staticfiles']"
            )
        self.built = None if built is None else Path(built)
        self._options: dict[str, Any] = {"url": self._prefix, "cdn": cdn, "max_age": max_age}
        self._reload = reload
        self._strict = strict
        self._lock = Lock()
        self._assets: Assets | None = None
        Assets.from_manifest(_NOTHING, **self._options)  # says what is wrong with the options

    @property
    def assets(self) -> Assets:
        """The files, read now if they were not read yet.

        Raises:
            ConfigurationError: they are not there; ``collectstatic`` did not run.
        """
        with self._lock:
            if self._assets is None:
                self._assets = self._read()
            return self._assets

    def _read(self) -> Assets:
        try:
            if self.built is not None:
                return Assets.from_manifest(
                    self.built / MANIFEST, folder=self.built, reload=self._reload, **self._options
                )
            return Assets(self.path(""), reload=self._reload, **self._options)
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}; did 'manage.py collectstatic' run?") from error

    def url(self, name: str, force: bool = False) -> str:
        """The URL of a file, hashed unless ``DEBUG`` is on; ``force`` does not look at ``DEBUG``.

        Raises:
            AssetNotFound: there is no file of that name, and ``strict`` is on.
        """
        path, suffix = split(name)
        asset = posixpath.normpath(path.replace("\\", "/").lstrip("/"))
        plain = (settings.DEBUG and not force) or not path or path.endswith("/")
        if plain or (not self._strict and asset not in self.assets):
            url: str = super().url(name)
            return url
        return self.assets.url(asset) + suffix

    def post_process(
        self, paths: Mapping[str, Any], dry_run: bool = False, **options: Any
    ) -> Iterator[tuple[str, str, bool]]:
        """Build what was collected; ``collectstatic`` calls it at its end.

        Yields:
            each file's name, its hashed name, and whether that was written now.
        """
        if dry_run or self.built is None:
            return
        written: set[str] = set()
        build(self.path(""), self.built, url=self._prefix, on_change=lambda change: written.add(change.name))
        with self._lock:
            self._assets = None
        for asset in self.assets:
            yield asset.name, asset.hashed_name, asset.hashed_name in written


def get_assets() -> Assets:
    """The assets of the project, for the middleware of :mod:`scalekit.cdn.wsgi` or :mod:`scalekit.cdn.asgi`.

    Raises:
        ConfigurationError: ``STORAGES["staticfiles"]`` is another storage, or nothing was collected.
    """
    if not isinstance(staticfiles_storage, AssetStorage):  # looks through Django's lazy object
        raise ConfigurationError(
            f"STORAGES['staticfiles'] is a {staticfiles_storage.__class__.__name__}; to have hashed URLs set "
            "its BACKEND to 'scalekit.cdn.django.AssetStorage'"
        )
    return staticfiles_storage.assets


def asset_url(name: str) -> str:
    """The URL of an asset, as ``{% asset %}`` writes it: whatever the storage of static files says.

    Raises:
        AssetNotFound: there is no file of that name.
    """
    url: str = staticfiles_storage.url(name)  # in tests of a project it may be Django's own
    return url
