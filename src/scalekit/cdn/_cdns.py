"""The CDNs that some assets have been pointed at: by these a page's URLs are known that name one already.

Rules:

* A CDN is known from when assets were pointed at it until its URLs are not kept ready any more, see
  :meth:`~scalekit.cdn.Assets.at`; that of the assets themselves always is, and those that a probe watches.
* A URL is at a CDN if its host and port are the CDN's, its path begins as the CDN's does, and its scheme is
  the CDN's. Where one of the two has none, ``//cdn.example.com``, either scheme will do.
"""

import re
from collections.abc import Callable, Iterable
from threading import Lock
from typing import NamedTuple
from urllib.parse import unquote

_DEFAULT_PORT = {
    "": re.compile(r":(?:80|443)?$"),
    "http": re.compile(r":(?:80)?$"),
    "https": re.compile(r":(?:443)?$"),
}
_CDN = re.compile(r"(?:(https?):)?//([^/]*)(.*)", re.IGNORECASE)


def host_of(authority: str, scheme: str) -> str:
    """A host and port in the one way that it is compared in; ``scheme`` is empty where nobody knows it."""
    return _DEFAULT_PORT[scheme].sub("", authority.lower())


class _Place(NamedTuple):
    scheme: str
    path: str  # without a slash at its end


class Cdns:
    """Known CDNs; all views of some assets share one.

    Args:
        first: the CDN that is always known, if there is one.

    ``origins`` has what stands before the path of an asset in the URLs that :class:`~scalekit.cdn.Assets`
    writes, and the same without its scheme.
    """

    def __init__(self, first: str | None) -> None:
        self._always: tuple[str | None, ...] = (first,)
        self._lock = Lock()
        self.addresses: tuple[str, ...] = ()
        self.know(tuple)

    def keep(self, cdns: Iterable[str | None]) -> None:
        """Know these always, too."""
        with self._lock:
            self._always += tuple(cdns)
        self.know(lambda: self.addresses)

    def know(self, others: Callable[[], Iterable[str | None]]) -> None:
        """Know what ``others`` returns, and nothing else but what is known always."""
        with self._lock:  # or of two threads that have one more each, one would be forgotten
            self.addresses = tuple({cdn: None for cdn in (*self._always, *others()) if cdn is not None})
            places: dict[str, list[_Place]] = {}
            origins: set[bytes] = set()
            for cdn in self.addresses:
                found = _CDN.fullmatch(cdn)
                assert found is not None  # it was checked
                place = _Place((found[1] or "").lower(), unquote(found[3]))
                places.setdefault(host_of(found[2], place.scheme), []).append(place)
                bare = cdn[cdn.index("//") :]
                origins |= {start.encode() for start in (cdn, bare)}
            for there in places.values():
                there.sort(key=lambda place: -len(place.path))  # the closest fit first
            self._places, self.origins = places, frozenset(origins)

    def path(self, scheme: str, host: str, path: str) -> str | None:
        """The path on the application's host for one at a CDN; ``None`` when it is at none.

        Args:
            scheme: of the URL, lower-case; empty without one.
            host: see :func:`host_of`.
            path: without dot segments and percent-encoding.
        """
        for place in self._places.get(host, ()):
            same = scheme == place.scheme or not (scheme and place.scheme)
            if same and path.startswith(place.path + "/"):
                return path[len(place.path) :]
        return None
