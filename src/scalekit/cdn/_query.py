"""The normal form of a query string: the parameters that a page depends on, sorted. Pure.

Rules:

* Parameters are compared by their decoded names, and left as they were spelled.
* They are sorted by name; of one name they keep their order, which may mean something.
* A name that is spelled as no browser would, as ``p%61ge``, is one to the application and perhaps another to
  the CDN. Nobody is to keep what is answered then.
"""

from collections.abc import Collection
from urllib.parse import quote, quote_plus, unquote_plus


def normal(query: str, names: Collection[str]) -> str:
    """``query`` with the parameters in ``names`` alone."""
    pairs = ((unquote_plus(pair.partition("=")[0], errors="replace"), pair) for pair in query.split("&"))
    kept = sorted((pair for pair in pairs if pair[0] in names and pair[1]), key=lambda pair: pair[0])
    return "&".join(pair for _, pair in kept)


def masked(query: str, names: Collection[str]) -> str | None:
    """The first of ``names`` that ``query`` has in such a spelling; ``None`` if there is none."""
    for pair in query.split("&"):
        written = pair.partition("=")[0]
        name = unquote_plus(written, errors="replace")
        if name in names and written not in (name, quote(name, safe=""), quote_plus(name)):
            return name
    return None


def spelled(path: str | bytes) -> str:
    """A decoded path, percent-encoded, as browsers do it."""
    return quote(path, safe="/!$&'()*+,;=:@~")


def location(path: str, query: str) -> bytes:
    """The ``Location`` of ``path``, which is percent-encoded, with another query, relative to it.

    So it is on the same host, whatever the path looks like, and right behind a proxy that takes away a part
    of the path.
    """
    relative = f"./{path.rpartition('/')[2]}{'?' if query else ''}{query}"
    return quote(relative, safe="%!$&'()*+,;=:@~/?", encoding="latin-1").encode()
