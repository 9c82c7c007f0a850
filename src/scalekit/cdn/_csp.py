"""Content security policies, extended by where a page has its assets from.

Rules:

* The CDN gets what the page's own host had for the assets, or another CDN of theirs, and no more: only lists
  with ``'self'``, with the host or with such a CDN in them are extended. ``'none'`` stays, and so does a list
  of nonces and hashes alone, which says nothing about hosts.
* On a page that does without a CDN the page's own host gets what a CDN had.
* What is added is an address with the path of the assets: other files at the same place, such as what
  visitors have uploaded, stay as forbidden as they were.
* Where only ``default-src`` is there it is copied into the directive that is missing, and extended there:
  connections, frames and the rest get nothing.
* Of a directive that occurs twice the first counts. Each of several policies is extended, for browsers apply
  them all.
* A policy in a page's ``<meta>`` is not touched.
"""

import re
from dataclasses import dataclass

from scalekit.types import Headers

HEADERS = frozenset({b"content-security-policy", b"content-security-policy-report-only"})
"""The headers that have policies."""

# What rewritten URLs are for; of the first two, the more special directive decides where it is there.
_DIRECTIVES = (
    (b"script-src-elem", b"script-src"),
    (b"style-src-elem", b"style-src"),
    (b"img-src",),
    (b"font-src",),
    (b"media-src",),
    (b"object-src",),
)
_SOURCE = re.compile(
    rb"(?:([a-z][a-z0-9+.-]*)://)?(\*\.)?([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(:(?:[0-9]+|\*))?(/[^\s]*)?",
    re.IGNORECASE,
)
_HOST = re.compile(rb"([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(:[0-9]+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """What policies get.

    Args:
        cdn: the CDN's address, with a scheme or, after ``//``, without; ``None`` on a page without one.
        path: the path of the assets, below the CDN's address and on the page's own host.
        host: the page's own host, lower-case, with its port if it has one; ``None`` when it is not known.
        cdns: the addresses of other CDNs that the assets are at.
    """

    cdn: bytes | None
    path: bytes
    host: bytes | None
    cdns: tuple[bytes, ...] = ()

    def apply(self, headers: Headers) -> None:
        """Extend the policies in a response's headers, in place."""
        for index, (name, value) in enumerate(headers):
            if name.lower() in HEADERS:
                headers[index] = name, self.extended(value)

    def extended(self, header: bytes) -> bytes:
        """A header's policies, extended."""
        return b",".join(self._policy(policy) for policy in header.split(b","))

    def _policy(self, policy: bytes) -> bytes:
        directives = policy.split(b";")
        first: dict[bytes, tuple[int, list[bytes]]] = {}
        for index, directive in enumerate(directives):
            if words := directive.split():
                first.setdefault(words[0].lower(), (index, words[1:]))
        added: list[bytes] = []
        for names in _DIRECTIVES:
            present = [first[name] for name in names if name in first]
            for index, sources in present:
                if self._is_due(sources):
                    directives[index] = directives[index].rstrip() + b" " + self._source
            if not present and b"default-src" in first:
                sources = first[b"default-src"][1]
                if self._is_due(sources):
                    added.append(b" " + b" ".join([names[-1], *sources, self._source]))
        while added and not directives[-1].strip():
            directives.pop()
        return b";".join([*directives, *added])

    @property
    def _source(self) -> bytes:
        """What is added."""
        if self.cdn is not None:
            return self.cdn.removeprefix(b"//") + self.path
        return self.host + self.path if self.host and _HOST.fullmatch(self.host) else b"'self'"

    def _is_due(self, sources: list[bytes]) -> bool:
        """Whether the assets may be loaded from elsewhere, and from where the page has them they may not."""
        plain = [_lowered(source) for source in sources]
        here = any(map(self._is_own, plain))
        there = any(self._is_at(cdn, source) for source in plain for cdn in self.cdns)
        if self.cdn is None:
            return there and not here and b"*" not in plain
        return (here or there) and not any(self._is_covered(self.cdn, source) for source in plain)

    def _is_own(self, source: bytes) -> bool:
        host = None if self.host is None else _HOST.fullmatch(self.host)
        return source == b"'self'" or (host is not None and _lets_in(source, host[1], None, self.path))

    def _is_at(self, cdn: bytes, source: bytes) -> bool:
        """Whether a source lets in the assets at a CDN."""
        scheme, _, rest = _lowered(cdn).rpartition(b"//")
        authority, slash, path = rest.partition(b"/")
        host = _HOST.fullmatch(authority)
        if host is None or (scheme and b"://" in source and not source.startswith(scheme)):
            return False
        return _lets_in(source, host[1], host[2] or b"", slash + path + self.path)

    def _is_covered(self, cdn: bytes, source: bytes) -> bool:
        """Whether a source lets in the assets at a CDN, or all of the web."""
        scheme = cdn.lower().partition(b"//")[0]
        return source in (b"*", scheme) or self._is_at(cdn, source)


def _lowered(source: bytes) -> bytes:
    """A source or an address in lower case, but for its path, of which each letter counts as it is."""
    scheme, slashes, rest = source.rpartition(b"://")
    authority, slash, path = rest.partition(b"/")
    return (scheme + slashes + authority).lower() + slash + path


def _lets_in(source: bytes, host: bytes, port: bytes | None, path: bytes) -> bool:
    """Whether a source is one for this host, port (any if ``None``) and path."""
    match = _SOURCE.fullmatch(source)
    if match is None:
        return False
    _, wild, named, at, start = match.groups()
    same = host.endswith(b"." + named) if wild else host == named
    same = same and (port is None or at == b":*" or (at or b"") == port)
    # A path that ends in "/" is a beginning; any other is one file.
    return same and (start is None or (start.endswith(b"/") and path.startswith(start)))
