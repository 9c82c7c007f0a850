"""From the URLs of one page to its assets, and to what is written instead.

Rules:

* Of a URL that means an asset, what stands before its query and fragment is replaced, and no more: the rest
  means the same behind the new one.
* What is written is ASCII without a quote, a space or a ``&``: it can stand in any attribute, style sheet or
  JSON text as it is.
* A URL that is no asset's stays as it is, byte for byte.
"""

from collections.abc import Container, Iterator

from scalekit.cdn._asset import Asset
from scalekit.cdn._urls import Base, split
from scalekit.cdn.assets import Assets

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

    def find(self, url: str) -> Asset | None:
        """The asset that ``url`` means."""
        name = self.name(url)
        return None if name is None else self.assets.get(name) or self.assets.get_hashed(name)

    def name(self, url: str) -> str | None:
        """The name below the assets' folder that ``url`` means, of a file or not."""
        found = self.base.resolve(url)
        if found is None or not found[0].startswith(self.assets.prefix):
            return None
        return found[0][len(self.assets.prefix) :]

    def change(self, asset: Asset, url: str, begin: int) -> Change:
        """The change that makes of ``url``, which begins at ``begin`` in a value, the one to be written."""
        return begin, begin + len(split(url)[0]), self.assets.url(asset.name)

    def change_escaped(self, asset: Asset, url: str, source: str, begin: int) -> Iterator[Change]:
        """The same for a ``source`` with escapes; none when one may stand before a suffix, or be it."""
        if url == source:
            yield self.change(asset, url, begin)
        elif not split(url)[1]:
            yield begin, begin + len(source), self.assets.url(asset.name)
