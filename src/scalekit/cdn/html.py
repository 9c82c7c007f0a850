"""Rewriting the asset URLs of an HTML page while it streams by.

A tokenizer after the HTML standard (13.2.5), over bytes. It changes the inside of attribute values and
nothing else, gives the same bytes however the page was cut into chunks, and holds back at most one
incomplete tag.

Most of a page needs no tokenizing. :meth:`HtmlRewriter._skim` jumps from asset URL to asset URL on these
grounds: in a stretch of markup that starts in the data state, has no comment, no tag that switches the
tokenizer's state, and no angle bracket hidden in quotes, the first ``>`` after a tag's beginning is its end,
and whatever follows a ``>`` is in the data state again. Where that is in doubt, :meth:`HtmlRewriter._step`
takes over, token by token, until past the doubt.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial

from scalekit.cdn._attributes import HTML_TAGS, SVG_TAGS, AttributeRewriter
from scalekit.cdn._cursor import TagCursor
from scalekit.cdn._foreign import HTML, SVG, ForeignContent
from scalekit.cdn._head import Head
from scalekit.cdn._syntax import (
    ATTRIBUTE,
    FETCHING_TAG,
    HEAD_SPECIAL,
    HIDDEN_BRACKET,
    PLAIN_SOURCE,
    SPECIAL,
    TAG,
    TAG_NAME,
)
from scalekit.cdn._text import BOGUS_COMMENT, CDATA, COMMENT, PLAINTEXT, Text, content_of
from scalekit.cdn._urls import Base
from scalekit.cdn.assets import Assets

TAG_LIMIT = 64 * 1024
"""Bytes. A longer tag passes as it is, so that no page can make the rewriter hold more."""

_NAME_LIMIT = 64
_STARVED = -1
_log = logging.getLogger("scalekit.cdn")


class HtmlRewriter:
    """One page's rewriter: ``feed`` it chunks, ``close`` it, send on what both return.

    >>> rewriter = HtmlRewriter(assets, path="/shop/")
    >>> rewriter.feed(b'<img src="/static/lo') + rewriter.feed(b'go.png">') + rewriter.close()
    b'<img src="https://d111111abcdef8.cloudfront.net/static/logo.3f2a9c01b4d5.png">'

    Args:
        assets: what counts as an asset, and its URL.
        path: the request's path, which relative URLs resolve against.
        host: the request's ``Host``; absolute URLs of this host count too. Default: none do.
        charset: the page's encoding, any in which ASCII is ASCII.

    ``count`` is the number of values rewritten; ``failed`` is true after a fault of the rewriter, from when
    on the page passes as it is.
    """

    def __init__(
        self, assets: Assets, *, path: str = "/", host: str | None = None, charset: str = "utf-8"
    ) -> None:
        self._base = Base(path, host)
        self._attributes = AttributeRewriter(assets, self._base, charset)
        self._needle = self._attributes.needle
        self._links: Mapping[bytes, bytes] = assets.links
        self._directory = (self._base.directory or "").encode()
        self._based = False
        self._foreign = ForeignContent()
        self._head = Head()
        self._mode: _Mode = HtmlRewriter._data
        # The input from where it must be looked at again, and how much of that went out already.
        self._rest, self._sent = b"", 0
        self.count = 0
        self.failed = False

    def rewrite(self, page: bytes) -> bytes:
        """A whole page at once; costs one search when it has no asset URL."""
        if self._needle is not None and self._needle not in page:
            return page
        return self.feed(page) + self.close()

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes of the page; the answer is what can be sent on now, perhaps nothing."""
        if self.failed:
            return chunk
        data = self._rest + chunk if self._rest else chunk
        sent = self._sent
        try:
            return self._run(data, sent)
        # A fault in here may cost one page its CDN, but never the page: whatever it is, it is logged.
        except Exception:  # noqa: BLE001
            _log.exception("the HTML rewriter failed; the page is sent on as it is")
            self.failed = True
            self._rest, self._sent = b"", 0
            return data[sent:]

    def close(self) -> bytes:
        """The page is over; the answer is what was still held back."""
        held = self._rest[self._sent :]
        self._rest, self._sent = b"", 0
        return held

    def _run(self, data: bytes, sent: int) -> bytes:
        self._out: list[bytes] = []
        self._cut = sent  # up to here the input is in _out, or went out earlier
        # The next of each in data, once searched for; no hidden bracket opens before _clear.
        self._special = self._hidden = self._clear = -1
        position = 0
        while position != _STARVED:
            position = self._mode(self, data, position)
        self._rest, self._sent = data[self._keep :], self._hold - self._keep
        if not self._out:
            return data[self._cut : self._hold]
        self._out.append(data[self._cut : self._hold])
        return b"".join(self._out)

    def _starve(self, keep: int, hold: int) -> int:
        """End a mode for want of input: look again from ``keep`` on, and send nothing from ``hold`` on.

        The end tag of a text is looked at from its beginning, which went out when it was text still.
        """
        self._keep, self._hold = keep, max(hold, self._cut)
        return _STARVED

    # The data state: text and tags.

    def _data(self, data: bytes, position: int) -> int:
        size = len(data)
        while position < size:
            stop = position
            if not self._foreign:
                position, stop = self._skim(data, position)
            while position <= stop and position < size:
                position = self._step(data, position)
                if self._mode is not HtmlRewriter._data or position == _STARVED:
                    return position
        return self._starve(size, size)

    def _skim(self, data: bytes, position: int) -> tuple[int, int]:
        """Rewrite what is beyond doubt; the answer is from where to step, and past where."""
        size = len(data)
        if self._special < position:
            special = (SPECIAL if self._head.over else HEAD_SPECIAL).search(data, position)
            self._special = special.start() if special else size
        stop = self._special
        if self._hidden < position and self._clear < stop:
            # One more: the "<" at `stop` may itself be what the quotes hide.
            hidden = HIDDEN_BRACKET.search(data, position, stop + 1)
            self._hidden, self._clear = (hidden.start(), -1) if hidden else (-1, stop)
        if position <= self._hidden:
            stop = min(stop, self._hidden)
        candidate = self._candidates(data)
        hit = candidate(position, stop)
        while hit >= 0:
            outside = data.rfind(b">", position, hit) + 1 or position
            opening = data.find(b"<", outside, hit)
            if opening < 0:  # in text
                position = hit
                hit = candidate(hit + 1, stop)
                continue
            end = data.find(b">", hit) + 1
            if not 0 < end <= stop:
                return opening, hit if end else size
            if not self._rewrite_plain(data, opening, hit, end):
                tag = TAG_NAME.match(data, opening)
                if tag is None:
                    return opening, hit
                if not tag[1]:
                    self._rewrite_tag(data, opening, end, tag[2].lower(), HTML_TAGS)
            position = end
            hit = candidate(end, stop)
        return data.rfind(b">", position, stop) + 1 or position, stop

    def _candidates(self, data: bytes) -> Callable[[int, int], int]:
        """What finds the next place inside a tag that may have an asset URL; it answers -1 at the end."""
        if self._needle is not None:
            return partial(data.find, self._needle)

        def find(start: int, stop: int) -> int:
            tag = FETCHING_TAG.search(data, start, stop)
            return tag.start() + 1 if tag else -1

        return find

    def _step(self, data: bytes, position: int) -> int:
        """One token, or the text before it."""
        opening = data.find(b"<", position)
        if opening < 0:
            return len(data)
        following = data[opening + 1 : opening + 3]
        if following[:1].isalpha() or (following[:1] == b"/" and following[1:].isalpha()):
            return self._tag(data, opening)
        if following[:1] == b"!":
            return self._declaration(data, opening)
        if following in (b"", b"/"):
            return self._starve(opening, opening)
        if following[:1] in b"/?":
            return self._enter(BOGUS_COMMENT, opening + 2)
        return opening + 1

    def _declaration(self, data: bytes, opening: int) -> int:
        start = data[opening : opening + 9]
        if start[:4] == b"<!--":
            if start[4:5] == b">":
                return opening + 5
            if start[4:6] == b"->":
                return opening + 6
            if start[4:6] in (b"", b"-"):
                return self._starve(opening, opening)
            return self._enter(COMMENT, opening + 4)
        if b"<!--".startswith(start):
            return self._starve(opening, opening)
        if self._foreign.namespace != HTML:
            if start == b"<![CDATA[":
                return self._enter(CDATA, opening + 9)
            if b"<![CDATA[".startswith(start):
                return self._starve(opening, opening)
        return self._enter(BOGUS_COMMENT, opening + 2)

    # Tags.

    def _tag(self, data: bytes, opening: int) -> int:
        if whole := TAG.match(data, opening):
            return self._complete(data, opening, whole.end(), whole[1], whole[2], None)
        self._cursor = TagCursor()
        self._cursor.find_end(data, opening + 2)
        self._mode = HtmlRewriter._tag_rest
        self._unheld: tuple[bytes, bytes] | None = None
        return self._wait_for_end(data, opening)

    def _wait_for_end(self, data: bytes, opening: int) -> int:
        """Hold an incomplete tag back, unless it is known to need no change."""
        size = len(data)
        if self._unheld is None:
            known = TAG_NAME.match(data, opening)
            plain = known and not self._foreign and (known[1] or not _may_change(known[2].lower()))
            if not plain and size - opening < TAG_LIMIT:
                self._scanned = size - opening
                return self._starve(opening, opening)
            slash = data[opening + 1 : opening + 2] == b"/"
            begin = opening + 1 + slash
            self._unheld = b"/" * slash, known[2] if known else data[begin : begin + _NAME_LIMIT]
        self._scanned = 0
        return self._starve(size, size)

    def _tag_rest(self, data: bytes, position: int) -> int:
        end = self._cursor.find_end(data, position + self._scanned)
        if end < 0:
            return self._wait_for_end(data, position)
        self._mode = HtmlRewriter._data
        if self._unheld is not None:
            return self._complete(data, end - TAG_LIMIT - 1, end, *self._unheld, self._cursor)
        tag = TAG_NAME.match(data, position)
        assert tag is not None  # the cursor found its end
        return self._complete(data, position, end, tag[1], tag[2], self._cursor)

    def _complete(
        self, data: bytes, opening: int, end: int, slash: bytes, name: bytes, cursor: TagCursor | None
    ) -> int:
        """Do what a whole tag asks for."""
        name = name[:_NAME_LIMIT].lower()
        if slash:
            if self._foreign:
                self._foreign.end(name)
            if not self._foreign and not self._head.over:
                self._head.end(name)
            return end
        short = end - opening <= TAG_LIMIT
        namespace = HTML
        if self._foreign or name in (b"svg", b"math"):
            if cursor is None:
                cursor = TagCursor()
                cursor.find_end(data, opening + 2)
            attributes: dict[bytes, bytes] = {}
            if short and ForeignContent.needs_attributes(name):
                for match in ATTRIBUTE.finditer(data, opening + 1 + len(name), end):
                    value = match[match.lastindex or 1] if match.lastindex != 1 else b""
                    attributes.setdefault(match[1].lower(), value)
            namespace = self._foreign.start(name, attributes, self_closing=cursor.self_closing)
            if self._foreign.too_deep:  # from here on the page passes as it is
                return self._enter(PLAINTEXT, end)
        if short and namespace in (HTML, SVG):
            self._rewrite_tag(data, opening, end, name, HTML_TAGS if namespace == HTML else SVG_TAGS)
        if not self._foreign and not self._head.over:
            self._head.start(name)
        text = content_of(name) if namespace == HTML else None
        return end if text is None else self._enter(text, end)

    def _rewrite_plain(self, data: bytes, opening: int, hit: int, end: int) -> bool:
        """Rewrite a tag of the most usual shape in few steps; false when it is of another."""
        start = data.rfind(b'"', opening, hit) + 1
        stop = data.find(b'"', hit, end)
        source = data[start:stop]
        new = self._links.get(source) or self._links.get(self._directory + source)
        if new is None:
            return False
        # The most usual beginning of all needs no pattern.
        if data[opening:start] != b'<img src="' and PLAIN_SOURCE.fullmatch(data, opening, start) is None:
            return False
        if self._needle is None or data.find(self._needle, stop, end) >= 0:
            return False
        # To find the dash costs least, and most tags have none.
        if data.find(b"-", opening, end) >= 0 and b"use-credentials" in data[opening:end].lower():
            return False
        self._out += data[self._cut : start], new
        self._cut = stop
        self.count += 1
        return True

    def _rewrite_tag(
        self, data: bytes, opening: int, end: int, name: bytes, tags: Mapping[bytes, frozenset[bytes]]
    ) -> None:
        wanted = tags.get(name)
        start = opening + 1 + len(name)
        if wanted is not None:
            for begin, stop, new in self._attributes.edits(name, wanted, data, start, end):
                self._out += data[self._cut : begin], new
                self._cut = stop
                self.count += 1
        elif name == b"base" and tags is HTML_TAGS and not self._based and not self._head.inert:
            href = self._attributes.base_href(data, start, end)
            if href is not None:
                self._move(None if self._head.over else href)

    def _move(self, href: str | None) -> None:
        """Resolve URLs against the document's ``<base>`` from now on; against nothing when it is in doubt."""
        self._based = True
        self._base.move(href)
        self._needle = self._attributes.needle
        self._directory = (self._base.directory or "").encode()
        if not self._directory:
            self._links = {}

    def _enter(self, text: Text, position: int) -> int:
        """Go on at ``position`` with what is not markup."""
        self._text = text
        self._mode = HtmlRewriter._read_text
        return position

    def _read_text(self, data: bytes, position: int) -> int:
        position, over = self._text.read(data, position)
        if not over:
            return self._starve(position, len(data))
        self._mode = HtmlRewriter._data
        return position


_Mode = Callable[[HtmlRewriter, bytes, int], int]


def _may_change(name: bytes) -> bool:
    return name in HTML_TAGS or name == b"base"
