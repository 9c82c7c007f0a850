"""What the two shells share: which responses are rewritten, and what that does to their headers.

Rules:

* Only complete ``text/html`` in an encoding where ASCII is ASCII. Partial content (206) and none (204),
  ``no-transform``, and bodies in a coding that cannot be taken off here pass as they are; event streams, JSON
  and everything else are never looked at.
* A rewritten page has another length and other bytes: ``Content-Length`` is recomputed or dropped, digests
  are dropped, ranges are not offered.
* Its entity tag gets a suffix from the assets and the CDN, for it is another representation; the suffix is
  taken off again on the way in. Another release's suffix stays on, and so never matches. The tag of a page
  that was compressed anew is weak, for the bytes depend on where chunks ended.
* ``If-Modified-Since`` alone says nothing about the assets, so it does not get to the application where the
  answer may be a page: at ``/products/tv-5.1`` for instance, but not at ``/photo.jpg`` unless a page is asked
  for. Nor does ``Range`` where one is asked for.
* The ``Link`` headers of a page are rewritten and its content security policy is extended, see
  :mod:`scalekit.cdn._links` and :mod:`scalekit.cdn._csp`; so are those of a 304 about a rewritten page, for a
  cache takes over what it says.
* A 404 at what may be the hashed name of another release's asset is kept by nobody, see
  :mod:`scalekit.cdn.serve`.
"""

import codecs
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from scalekit._http import forbid_storing, get, vary_on
from scalekit.cdn import _codings, _links
from scalekit.cdn._body import Body, CodedBody, PlainBody
from scalekit.cdn._coding import Coding
from scalekit.cdn._media import never_page
from scalekit.cdn._pages import Pages
from scalekit.cdn.assets import Assets
from scalekit.cdn.fingerprint import plain_name
from scalekit.types import Headers

_CHARSET = re.compile(rb";[ \t]*charset[ \t]*=[ \t]*\"?([^\s;\"]+)", re.IGNORECASE)
CONDITIONAL = frozenset({b"if-none-match", b"if-match", b"if-modified-since", b"range", b"if-range"})
"""The request headers that may be changed."""

_DROPPED = frozenset(
    {b"content-length", b"content-digest", b"repr-digest", b"digest", b"content-md5", b"accept-ranges"}
)
_NOT_PAGES = (204, 206)
_KIND_SIZE = len(b"content-type")
_ETAG = re.compile(rb'(?:W/)?"[^"]*"')
_STATEFUL = ("utf_7", "utf_16", "utf_32", "iso2022", "hz")
_ASCII = bytes(range(0x20, 0x7F))


class Page:
    """One exchange: its request cleared of what the application must not see, its response's headers edited.

    Args:
        pages: how pages are rewritten.
        source: the request as the shell has it, for who chooses the CDN.
        method: the request's method.
        path: the request's path.
        headers: the request's headers; :attr:`request` has them as the application is to see them.
    """

    __slots__ = ("_assets", "_coding", "_own", "_pages", "_source", "charset", "method", "path", "request")

    def __init__(self, pages: Pages, source: Any, *, method: str, path: str, headers: Headers) -> None:
        self._pages, self._source = pages, source
        self.method, self.path = method, path
        self.charset = "utf-8"
        self._assets: Assets | None = None
        self._coding: Callable[[], Coding] | None = None
        self._own: dict[bytes, bool] = {}  # the application's tags that the client has; whether they are weak
        for name, _ in headers:
            if name in CONDITIONAL:
                headers = self._clear(headers)
                break
        self.request = headers

    @property
    def assets(self) -> Assets:
        """The assets at this page's CDN, which is chosen when it is first asked for."""
        if self._assets is None:
            self._assets = self._pages.view(self._source)
        return self._assets

    def body(self) -> Body:
        """What the page goes through, after :meth:`respond` has said yes."""
        rewriter = self._pages.rewriter(self.assets, path=self.path, host=self._host(), charset=self.charset)
        return PlainBody(rewriter) if self._coding is None else CodedBody(rewriter, self._coding())

    def link(self, value: bytes) -> bytes:
        """A ``Link`` header, rewritten."""
        return _links.rewrite(value, self._tag)

    def _tag(self, tag: bytes) -> bytes:
        rewriter = self._pages.rewriter(self.assets, path=self.path, host=self._host(), charset="latin-1")
        return rewriter.rewrite(tag)

    def _host(self) -> str | None:
        host = get(self.request, b"host")
        return None if host is None else host.decode("latin-1")

    @property
    def _suffix(self) -> bytes:
        return b"-" + self.assets.version.encode() + self._pages.mark

    def finished(self, body: Body) -> None:
        """Count what was done."""
        counts = self._pages.assets.counts
        if body.garbled:
            counts.add("garbled")
        if body.untouched:
            return
        counts.add("pages")
        counts.add("urls", body.rewriter.count)
        if body.rewriter.failed:
            counts.add("errors")

    def _clear(self, headers: Headers) -> Headers:
        suffix = self._suffix
        is_file = never_page(self.path)
        asks_for_page = b"text/html" in (get(headers, b"accept") or b"")
        ranged_page = suffix + b'"' in (get(headers, b"if-range") or b"")
        tags = get(headers, b"if-none-match")
        cleared: Headers = []
        for name, value in headers:
            if name in (b"if-none-match", b"if-match"):
                value = _ETAG.sub(self._undo, value)
            if name == b"if-match":  # where a weak tag never matches, and it may be weak by our doing alone
                for tag in self._own:
                    value = value.replace(b"W/" + tag, tag)
            dated = name == b"if-modified-since" and tags is None and (asks_for_page or not is_file)
            ranged = name in (b"range", b"if-range") and (ranged_page or (asks_for_page and not is_file))
            if not (dated or ranged):
                cleared.append((name, value))
        return cleared

    def _undo(self, match: re.Match[bytes]) -> bytes:
        tag = match[0]
        if not tag.endswith(self._suffix + b'"'):
            return tag
        tag = tag[: -len(self._suffix) - 1] + b'"'
        self._own[tag.removeprefix(b"W/")] = tag.startswith(b"W/")
        return tag

    def respond(self, status: int, headers: Headers) -> bool:
        """Whether the response is to be rewritten; its headers are edited in place, without a length then."""
        if (
            status == 404
            and self.path.startswith(self._pages.assets.prefix)
            and plain_name(self.path) is not None
        ):
            forbid_storing(headers)
        if status == 304:
            if self._own and self._mark(headers, only_own=True):
                self._edit(headers)
            return False
        kind = get(headers, b"content-type")
        if kind is None or kind[:9].lower() != b"text/html" or status in _NOT_PAGES:
            return False
        if reason := self._why_not(kind, headers):
            self._pages.assets.counts.add(reason)
            return False
        headers[:] = [pair for pair in headers if pair[0].lower() not in _DROPPED]
        self._mark(headers, only_own=False)
        self._edit(headers)
        return True

    def _edit(self, headers: Headers) -> None:
        """What a rewritten page says besides its bytes."""
        for index, (name, value) in enumerate(headers):
            if name.lower() == b"link":
                headers[index] = name, self.link(value)
        self._pages.extend_policies(self.assets, self._host(), headers)
        for name in self._pages.vary:
            vary_on(headers, name)

    def _why_not(self, kind: bytes, headers: Headers) -> str | None:
        # Anew: under WSGI an error page may take the place of one that was about to be sent.
        self._coding, self.charset = None, "utf-8"
        codings = _codings.names(get(headers, b"content-encoding"))
        if codings:
            self._coding = _codings.find(codings[0]) if len(codings) == 1 else None
            if self._coding is None:
                return "encoded"
        if b"no-transform" in (get(headers, b"cache-control") or b"").lower():
            return "no-transform"
        if charset := _CHARSET.search(kind):
            self.charset = charset[1].decode("latin-1")
            if not _keeps_ascii(self.charset):
                return "charset"
        return None

    def _mark(self, headers: Headers, *, only_own: bool) -> bool:
        marked = False
        for index, (name, value) in enumerate(headers):
            if name.lower() != b"etag" or not value.endswith(b'"'):
                continue
            tag = value.removeprefix(b"W/")
            if only_own and tag not in self._own:
                continue
            weak = tag != value or (self._own[tag] if only_own else self._coding is not None)
            headers[index] = name, b"W/" * weak + tag[:-1] + self._suffix + b'"'
            marked = True
        return marked


def is_other(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a response is certainly no page, nor anything else that changes: what most of them are.

    For a request whose headers are the application's own business; said in few steps.
    """
    if status == 404:  # it may be that of another release's asset
        return False
    for name, value in headers:
        if len(name) == _KIND_SIZE and name.lower() == b"content-type":
            return value[:9].lower() != b"text/html"
    return True


@lru_cache(maxsize=64)
def _keeps_ascii(charset: str) -> bool:
    try:
        name = codecs.lookup(charset).name.replace("-", "_")
        return not name.startswith(_STATEFUL) and _ASCII.decode(charset) == _ASCII.decode("ascii")
    except (LookupError, ValueError):  # a codec may refuse with any kind of the latter
        return False
