"""Storages by URL, for command lines and settings: ``storage_from_url("s3://media/photos")``.

=========================================  ==============================================================
``/srv/media``, ``media``                  a folder
``file:///srv/media``                      a folder; what a URL may not hold is written as ``%20``
``s3://bucket``, ``s3://bucket/photos``    a bucket, or what is below ``photos/`` in it
=========================================  ==============================================================

An S3 URL takes options after a ``?``: ``endpoint_url``, ``region_name``, ``part_size`` (bytes) and
``concurrency`` as :class:`~scalekit.storage.s3.S3Storage` does, and ``profile``: what the service
understands, by the name of one of :mod:`scalekit.storage.profiles`, such as ``r2``. It takes no credentials:
command lines are seen by everyone on the server, and kept in histories. Those come from the environment, as
for every AWS tool.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from scalekit import _s3_url
from scalekit.errors import ConfigurationError
from scalekit.storage import profiles
from scalekit.storage._contract import Storage
from scalekit.storage.filesystem import FileStorage

_PROFILES = {
    "amazon": profiles.AMAZON,
    "compatible": profiles.COMPATIBLE,
    "minio": profiles.MINIO,
    "r2": profiles.R2,
    "ceph": profiles.CEPH,
    "swift": profiles.SWIFT,
}
_EXAMPLES = "give a folder such as /srv/media, or s3://bucket/prefix"


def storage_from_url(url: str, *, must_exist: bool = False) -> Storage:
    """The storage that ``url`` names, see above. No server is asked yet.

    Args:
        must_exist: refuse a folder that is not there; by default the first object makes it.

    Raises:
        ConfigurationError: it names none, or has an option that there is not.
        MissingExtra: it is an S3 URL and no S3 client is installed.
    """
    if not url:
        raise ConfigurationError(f"an empty text names no storage; {_EXAMPLES}")
    if url.lower().startswith("s3:") and not url.lower().startswith("s3://"):
        raise ConfigurationError("an s3:// URL has two slashes; write it as s3://bucket/prefix")
    if "://" not in url and not url.startswith("file:"):
        return _files(url, must_exist)
    parts = urlsplit(url)
    if parts.scheme == "file":
        return _files(_path_of(url), must_exist)
    if parts.scheme == "s3":
        return _s3(url)
    raise ConfigurationError(f"no storage has URLs that begin with {parts.scheme:.20}://; {_EXAMPLES}")


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    if (
        parts.netloc not in ("", "localhost")
        or not parts.path.startswith("/")
        or parts.query
        or parts.fragment
    ):
        raise ConfigurationError(f"{url!r:.200} is no folder of this server; write it as file:///srv/media")
    return unquote(parts.path)


def _files(path: str, must_exist: bool) -> Storage:
    storage = FileStorage(path, base_url=None)
    if must_exist and not storage.directory.is_dir():
        raise ConfigurationError(f"there is no folder {str(storage.directory)!r}")
    return storage


def _s3(url: str) -> Storage:
    place = _s3_url.parse(url, options=_S3_OPTIONS)
    options = {name: _S3_OPTIONS[name](name, value) for name, value in place.options.items()}
    from scalekit.storage.s3 import S3Storage

    return S3Storage(place.bucket, prefix=place.prefix, **options)


def _text(name: str, value: str) -> str:
    return value


def _number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ConfigurationError(f"{name}={value:.40} is no whole number") from None


def _profile(name: str, value: str) -> profiles.S3Profile:
    if value.lower() not in _PROFILES:
        raise ConfigurationError(f"{name}={value:.40} is none of {', '.join(_PROFILES)}")
    return _PROFILES[value.lower()]


_S3_OPTIONS: dict[str, Callable[[str, str], Any]] = {
    "endpoint_url": _text,
    "region_name": _text,
    "part_size": _number,
    "concurrency": _number,
    "profile": _profile,
}
