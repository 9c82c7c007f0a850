"""From the URLs of one page to its assets, and to what is written instead.

Rules:

* Of a URL that means an asset, what stands before its query and fragment is replaced, and no more: the rest
  means the same behind the new one.
* What is written is ASCII without a quote, a space or a ``&``: it can stand in any attribute, style sheet or
  JSON text as it is.
* A URL that is no asset's stays as it is, byte for byte.
* One at a CDN of the assets is rewritten as its path would be, so that the page has all of its files from the
  CDN that it is given. What would stay under that path stays as it is written while the page has a CDN, and
  has its path without one: nothing is asked for at a CDN that the page is to do without.
"""

from collections.abc import Container, Iterator
from urllib.parse import quote

from scalekit.cdn._asset import Asset
from scalekit.cdn._urls import Base, split
from scalekit.cdn.assets import Assets

_SCHEME_SIZE = len("https://")

Change = tuple[int, int, str]
"""From where to where in a value, and what to put there."""


class Targets:
    """What the URLs of a page mean.

    Args:
        assets: what counts as an asset, and its URL.
        base: what relative URLs resolve against; may move while the page streams by.
        modules: the names of the scripts that may run as modules under their new URLs.
    """

    def __init__(self, assets: Assets, base: Base, modules: Container[str] = frozenset()) -> None:
        self.assets, self.base = assets, base
        self.modules = modules
        self._links, self._prefix = assets.links, assets.prefix.encode()
        self._origins = assets.cdns.origins
        self._segment = assets.prefix.rstrip("/").rpartition("/")[2].encode()

    @property
    def needle(self) -> bytes | None:
        """What every asset URL of the page contains; ``None`` when it may contain anything.

        A URL reaches the assets' folder from outside only by spelling the last segment of its path. The
        segment's letters have to stand there plainly: nobody writes ``st&#97;tic``, and to look for it would
        cost every page.
        """
        inside = (self.base.directory or "").startswith(self.assets.prefix)
        return None if inside or not self._segment else self._segment

    def link(self, source: bytes) -> bytes | None:
        """What to write for a path, or a URL at a CDN, that is written as usual; ``None`` for any other."""
        new = self._links.get(source)
        if new is None:
            path = source.find(self._prefix, _SCHEME_SIZE)
            if path > 0 and source[:path] in self._origins:
                return self._links.get(source[path:])
        return new

    def find(self, url: str) -> Asset | None:
        """The asset that ``url`` means."""
        name = self.name(url)
        return None if name is None else self.assets.get(name) or self.assets.get_hashed(name)

    def is_hashed(self, asset: Asset, url: str) -> bool:
        """Whether ``url``, which means ``asset``, has its hashed name."""
        return self.name(url) == asset.hashed_name

    def name(self, url: str) -> str | None:
        """The name below the assets' folder that ``url`` means, of a file or not."""
        meaning = self.base.resolve(url)
        if meaning is None or not meaning.path.startswith(self.assets.prefix):
            return None
        return meaning.path[len(self.assets.prefix) :]

    def url(self, asset: Asset) -> str:
        """The URL that the page is to have for an asset."""
        return self.assets.url(asset.name)

    def path(self, url: str) -> str | None:
        """What to write for ``url`` if it has to stay what it is, but not where; ``None`` if it stays."""
        if self.assets.cdn is not None:
            return None
        meaning = self.base.resolve(url)
        return quote(meaning.path) if meaning is not None and meaning.at_cdn else None

    def change(self, new: str, url: str, begin: int) -> Change:
        """The change that makes ``new`` of ``url``, which begins at ``begin`` in a value."""
        return begin, begin + len(split(url)[0]), new

    def change_escaped(self, new: str, url: str, source: str, begin: int) -> Iterator[Change]:
        """The same for a ``source`` with escapes; none when one may stand before a suffix, or be it."""
        if url == source:
            yield self.change(new, url, begin)
        elif not split(url)[1]:
            yield begin, begin + len(source), new
