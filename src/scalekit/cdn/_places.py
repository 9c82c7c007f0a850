"""Where assets are: the path that an application serves them under, and the address of a CDN, checked."""

import re
from urllib.parse import urlsplit

from scalekit._options import check_text
from scalekit.errors import ConfigurationError

_PREFIX = re.compile(r"/(?:[A-Za-z0-9._~-]+/)*")
_CDN = re.compile(r"[A-Za-z0-9._~:/\[\]%-]+")


def check_url(url: str) -> str:
    """``url``, if it is a path that assets can be under.

    Raises:
        ConfigurationError: it is none.
    """
    if not _PREFIX.fullmatch(url):
        raise ConfigurationError(
            f"url={url!r} is not a path such as '/static/': it begins and ends with '/', with letters, "
            "digits, '-', '.', '_' and '~' between; the address of a CDN goes into cdn="
        )
    return url


def check_cdn(cdn: str, *, url: str) -> str:
    """The address of a CDN, without a slash at its end.

    Args:
        url: the path that assets are under, which is added to it.

    Raises:
        ConfigurationError: it is none, or has that path at its end already.
    """
    check_text(cdn, option="cdn=", wanted="an address such as 'https://cdn.example.com', or None")
    try:
        parts = urlsplit(cdn)
    except ValueError as error:
        raise ConfigurationError(f"cdn={cdn!r} is not an address: {error}") from error
    if "@" in parts.netloc:
        raise ConfigurationError("cdn= has a user name or password in it; give the address alone")
    if parts.scheme not in ("http", "https", "") or not parts.netloc:
        raise ConfigurationError(f"cdn={cdn!r} is not an address such as 'https://cdn.example.com'")
    if "?" in cdn or "#" in cdn:
        raise ConfigurationError(f"cdn={cdn!r} has a query or fragment; asset paths are added at its end")
    if not _CDN.fullmatch(cdn):
        raise ConfigurationError(f"cdn={cdn!r} contains characters that do not belong in an address")
    start = cdn.rstrip("/")
    # Nobody's CDN has /static/static/; a path of its own before that, such as /shop, is another thing.
    if url != "/" and parts.path.rstrip("/").endswith(url.rstrip("/")):
        bare = start.removesuffix(url.rstrip("/"))
        raise ConfigurationError(
            f"cdn={cdn!r} ends with url={url!r}, which is added to it: URLs would begin with {start}{url}; "
            f"give cdn={bare!r}"
        )
    return start
