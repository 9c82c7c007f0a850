"""Content security policies, extended by the CDN.

Rules:

* The CDN gets what the page's own host had for the assets, and no more: only lists with ``'self'`` in them,
  or with the host itself, are extended. ``'none'`` stays, and so does a list of nonces and hashes alone,
  which says nothing about hosts.
* What is added is the CDN's address with the path of the assets: other files on the same CDN, such as what
  visitors have uploaded, stay as forbidden as they were.
* Where only ``default-src`` is there it is copied into the directive that is missing, and extended there:
  connections, frames and the rest get nothing.
* Of a directive that occurs twice the first counts. Each of several policies is extended, for browsers apply
  them all.
* A policy in a page's ``<meta>`` is not touched.
"""

import re
from collections.abc import Iterator
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
    rb"(?:([a-z][a-z0-9+.-]*)://)?(\*\.)?([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::(?:[0-9]+|\*))?(/[^\s]*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """What policies get.

    Args:
        cdn: the CDN's address, with a scheme or, after ``//``, without.
        path: the path of the assets, below the CDN's address and on the page's own host.
        host: the page's own host, without a port; ``None`` when it is not known.
    """

    cdn: bytes
    path: bytes
    host: bytes | None

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
        return self.cdn.removeprefix(b"//") + self.path

    def _is_due(self, sources: list[bytes]) -> bool:
        """Whether the own host may be loaded from, and the CDN may not."""
        plain = [source.lower() for source in sources]
        return any(map(self._is_own, plain)) and not any(source in self._covering() for source in plain)

    def _is_own(self, source: bytes) -> bool:
        if source == b"'self'":
            return True
        match = _SOURCE.fullmatch(source)
        if match is None or self.host is None:
            return False
        _, wild, host, path = match.groups()
        same = self.host.endswith(b"." + host) if wild else self.host == host
        # A path that ends in "/" is a beginning; any other is one file.
        return same and (path is None or (path.endswith(b"/") and self.path.startswith(path)))

    def _covering(self) -> Iterator[bytes]:
        """The sources that let everything in from the CDN."""
        scheme, _, rest = self.cdn.lower().rpartition(b"//")
        host = rest.partition(b"/")[0]
        yield from (b"*", self._source.lower(), host, scheme + b"//" + host if scheme else host)
        if scheme:
            yield scheme
