"""The items of an invalidation as CloudFront wants them: a path begins with ``/``, a tag with ``#``."""

from collections.abc import Iterable
from urllib.parse import quote

from scalekit.cdn.purge import split, texts
from scalekit.errors import ConfigurationError

_PATH_LENGTH = 4000
_TAG_LENGTH = 256


def paths(urls: Iterable[str]) -> list[str]:
    """Of URLs or paths; encoded, unless they are already.

    Raises:
        ConfigurationError: one is neither, has a wildcard in its middle, or is too long.
    """
    found = []
    for url in texts(urls, option="urls"):
        parts = split(url)
        if "//" in url and parts.scheme not in ("http", "https"):
            raise ConfigurationError(
                f"{url!r:.100} is no URL of a CDN, such as 'https://cdn.example.com/news'"
            )
        if "//" not in url and not url.startswith("/"):
            raise ConfigurationError(
                f"{url!r:.100} is no path: write it as '/news', or with its host as 'https://cdn.example.com/news'"
            )
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        path += f"?{query}" if query else ""
        if "*" in path[:-1]:
            raise ConfigurationError(f"{url!r:.100} has a wildcard before its end, where it means nothing")
        if len(path) > _PATH_LENGTH:
            raise ConfigurationError(
                f"{url!r:.100} is longer than {_PATH_LENGTH} characters, CloudFront's limit"
            )
        found.append(path)
    return list(dict.fromkeys(found))


def marked(tags: Iterable[str]) -> list[str]:
    """Of tags.

    Raises:
        ConfigurationError: one is no tag of CloudFront's.
    """
    found = texts(tags, option="tags")
    for tag in found:
        if not tag.isascii() or "," in tag or len(tag) > _TAG_LENGTH:
            raise ConfigurationError(
                f"the tag {tag!r:.60} is none of CloudFront's: {_TAG_LENGTH} ASCII characters at most, "
                "and no comma"
            )
    return [f"#{tag}" for tag in found]
