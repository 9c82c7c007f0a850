"""Rewriting the asset URLs of an HTML page while it streams by.

It changes URLs inside attribute values, style sheets and import maps and nothing else, gives the same bytes
however the page was cut into chunks, and holds back little, see :mod:`scalekit.cdn._tokenizer`.

Most of a page needs no tokenizing. :meth:`HtmlRewriter._skim` jumps from asset URL to asset URL on these
grounds: in a stretch of markup that starts in the data state, has no comment, no tag that switches the
tokenizer's state, and no angle bracket hidden in quotes, the first ``>`` after a tag's beginning is its end,
and whatever follows a ``>`` is in the data state again. Where that is in doubt, the tokenizer takes over,
token by token, until past the doubt.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial

from scalekit.cdn._additions import Additions
from scalekit.cdn._attributes import AttributeRewriter
from scalekit.cdn._contents import content_editor
from scalekit.cdn._foreign import HTML, SVG
from scalekit.cdn._syntax import (
    FETCHING_TAG,
    HEAD_SPECIAL,
    HIDDEN_BRACKET,
    PLAIN_SOURCE,
    SPECIAL,
    STYLE,
    STYLE_URL,
    TAG_NAME,
)
from scalekit.cdn._tags import HTML_TAGS, STYLE_ONLY, SVG_TAGS
from scalekit.cdn._targets import Targets
from scalekit.cdn._tokenizer import STARVED, Editor, Tokenizer
from scalekit.cdn._urls import Base
from scalekit.cdn.assets import Assets

_TAGS: Mapping[str, Mapping[bytes, frozenset[bytes]]] = {HTML: HTML_TAGS, SVG: SVG_TAGS}
_log = logging.getLogger("scalekit.cdn")


class HtmlRewriter(Tokenizer):
    """One page's rewriter: ``feed`` it chunks, ``close`` it, send on what both return.

    >>> rewriter = HtmlRewriter(assets, path="/shop/")
    >>> rewriter.feed(b'<img src="/static/lo') + rewriter.feed(b'go.png">') + rewriter.close()
    b'<img src="https://d111111abcdef8.cloudfront.net/static/logo.3f2a9c01b4d5.png">'

    Args:
        assets: what counts as an asset, and its URL.
        path: the request's path, which relative URLs resolve against.
        host: the request's ``Host``; absolute URLs of this host count too. Default: none do.
        charset: the page's encoding, any in which ASCII is ASCII.
        integrity: add ``integrity`` to rewritten scripts and style sheets that lack it, and with a CDN
            ``crossorigin="anonymous"``, without which a browser would not check; default ``False``.
        crossorigin: add that to them in any case, so that a script's errors say what they are and a page may
            read its style sheets; only with a CDN. Default ``False``.

    ``count`` is the number of URLs rewritten; ``failed`` is true after a fault of the rewriter, from when
    on the page passes as it is.
    """

    def __init__(
        self,
        assets: Assets,
        *,
        path: str = "/",
        host: str | None = None,
        charset: str = "utf-8",
        integrity: bool = False,
        crossorigin: bool = False,
    ) -> None:
        super().__init__()
        self._base = Base(path, host)
        self._charset = charset
        self._targets = Targets(assets, self._base)
        additions = Additions(integrity, crossorigin) if integrity or crossorigin else None
        self._attributes = AttributeRewriter(self._targets, charset, additions)
        self._needle = self._targets.needle
        self._links: Mapping[bytes, bytes] = assets.links
        self._directory = (self._base.directory or "").encode()
        self._based = False
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
        sent, count = self._sent, self.count
        # The next of each in data, once searched for; no hidden bracket opens before _clear.
        self._special = self._hidden = self._clear = -1
        try:
            return self._run(data, sent)
        # A fault in here may cost one page its CDN, but never the page: whatever it is, it is logged.
        except Exception:  # noqa: BLE001
            _log.exception("the HTML rewriter failed; the page is sent on as it is")
            self.failed = True
            self.count = count
            self._rest, self._sent = b"", 0
            return data[sent:]

    def close(self) -> bytes:
        """The page is over; the answer is what was still held back."""
        held = self._rest[self._sent :]
        self._rest, self._sent = b"", 0
        return held

    # What the tokenizer asks.

    def _start_tag(self, data: bytes, opening: int, end: int, name: bytes, namespace: str) -> None:
        self._rewrite_tag(data, opening, end, name, namespace)

    def _content(self, data: bytes, opening: int, end: int, name: bytes) -> Editor | None:
        if name not in (b"style", b"script"):
            return None
        return content_editor(name, data[opening:end], self._targets, self._charset)

    # What is beyond doubt.

    def _data(self, data: bytes, position: int) -> int:
        size = len(data)
        while position < size:
            stop = position
            if not self._foreign:
                position, stop = self._skim(data, position)
            while position <= stop and position < size:
                position = self._step(data, position)
                if self._mode is not None or position == STARVED:
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
                    self._rewrite_tag(data, opening, end, tag[2].lower(), HTML)
            position = end
            hit = candidate(end, stop)
        return data.rfind(b">", position, stop) + 1 or position, stop

    def _candidates(self, data: bytes) -> Callable[[int, int], int]:
        """What finds the next place inside a tag that may have an asset URL; it answers -1 at the end."""
        if self._needle is not None:
            return partial(data.find, self._needle)
        size = len(data)
        style = -1

        def find(start: int, stop: int) -> int:
            nonlocal style
            if style < start:
                url = STYLE_URL.search(data, start)
                style = url.start() if url else size
            tag = FETCHING_TAG.search(data, start, min(stop, style))
            if tag:
                return tag.start() + 1
            return style if style < stop else -1

        return find

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

    def _rewrite_tag(self, data: bytes, opening: int, end: int, name: bytes, namespace: str) -> None:
        start = opening + 1 + len(name)
        tags = _TAGS.get(namespace, {})
        wanted = tags.get(name)
        if wanted is None:
            if name == b"base" and namespace == HTML:
                self._take_base(data, start, end)
            if not STYLE.search(data, start, end):
                return
            wanted = STYLE_ONLY
        for begin, stop, new in self._attributes.edits(name, wanted, data, start, end):
            self._edit(data, begin, stop, new)

    def _take_base(self, data: bytes, start: int, end: int) -> None:
        """Resolve URLs against the document's ``<base>`` from now on; against nothing when it is in doubt."""
        if self._based or self._head.inert:
            return
        href = self._attributes.base_href(data, start, end)
        if href is None:
            return
        self._based = True
        self._base.move(None if self._head.over else href)
        self._needle = self._targets.needle
        self._directory = (self._base.directory or "").encode()
        if not self._directory:
            self._links = {}
