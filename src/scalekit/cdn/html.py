"""Rewriting the asset URLs of an HTML page while it streams by.

It changes URLs inside attribute values, style sheets and import maps and nothing else, gives the same bytes
however the page was cut into chunks, and holds back little, see :mod:`scalekit.cdn._tokenizer`. Most of a
page is not even tokenized, see :mod:`scalekit.cdn._skimmer`.
"""

import logging
from collections.abc import Mapping

from scalekit.cdn._additions import Additions
from scalekit.cdn._attributes import AttributeRewriter
from scalekit.cdn._contents import content_editor
from scalekit.cdn._foreign import HTML, SVG
from scalekit.cdn._skimmer import Skimmer
from scalekit.cdn._syntax import STYLE
from scalekit.cdn._tags import HTML_TAGS, STYLE_ONLY, SVG_TAGS
from scalekit.cdn._targets import Targets
from scalekit.cdn._tokenizer import Editor
from scalekit.cdn._urls import Base
from scalekit.cdn.assets import Assets

_TAGS: Mapping[str, Mapping[bytes, frozenset[bytes]]] = {HTML: HTML_TAGS, SVG: SVG_TAGS}
_log = logging.getLogger("scalekit.cdn")


class HtmlRewriter(Skimmer):
    """One page's rewriter: ``feed`` it chunks, ``close`` it, send on what both return.

    >>> rewriter = HtmlRewriter(assets, path="/shop/")
    >>> rewriter.feed(b'<img src="/static/lo') + rewriter.feed(b'go.png">') + rewriter.close()
    b'<img src="https://d111111abcdef8.cloudfront.net/static/logo.3f2a9c01b4d5.png">'

    Args:
        assets: what counts as an asset, and its URL. A URL at any CDN that they were pointed at, see
            :meth:`Assets.at`, is taken for the path behind it.
        path: the request's path, which relative URLs resolve against.
        host: the request's ``Host``; absolute URLs of this host count too. Default: none do.
        charset: the page's encoding, any in which ASCII is ASCII.
        integrity: add ``integrity`` to rewritten scripts and style sheets that lack it, and with a CDN
            ``crossorigin="anonymous"``, without which a browser would not check; default ``False``.
        crossorigin: add that to them in any case, so that a script's errors say what they are and a page may
            read its style sheets; only with a CDN. Default ``False``.
        modules: point modules at their hashed files, too, where all that they import is renamed. Only for
            pages whose own scripts import nothing by its path, which would run once more; default ``False``.

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
        modules: bool = False,
    ) -> None:
        assets = assets.now()
        self._base = Base(path, host, assets.cdns)
        super().__init__(Targets(assets, self._base, assets.modules if modules else frozenset()))
        self._charset = charset
        additions = Additions(integrity, crossorigin) if integrity or crossorigin else None
        self._attributes = AttributeRewriter(self._targets, charset, additions)
        self._based = False
        self.failed = False

    def rewrite(self, page: bytes) -> bytes:
        """A whole page at once; costs one search when it has no asset URL.

        Raises:
            TypeError: it is text.
        """
        _check(page)
        if self._needle is not None and self._needle not in page:
            return page
        return self.feed(page) + self.close()

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes of the page; the answer is what can be sent on now, perhaps nothing.

        Raises:
            TypeError: it is text.
        """
        _check(chunk)
        if self.failed:
            return chunk
        data = self._rest + chunk if self._rest else chunk
        sent, count = self._sent, self.count
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

    def _content(self, data: bytes, opening: int, end: int, name: bytes) -> Editor | None:
        if name not in (b"style", b"script"):
            return None
        return content_editor(name, data[opening:end], self._targets, self._charset)

    def _take_base(self, data: bytes, start: int, end: int) -> None:
        """Resolve URLs against the document's ``<base>`` from now on; against nothing when it is in doubt."""
        if self._based or self._head.inert:
            return
        href = self._attributes.base_href(data, start, end)
        if href is None:
            return
        self._based = True
        self._base.move(None if self._head.over else href)
        self._aim()


def _check(page: object) -> None:
    if isinstance(page, str):
        raise TypeError(
            "an HtmlRewriter takes bytes, as they are sent, and not str; give it page.encode(), and charset= "
            "if that is not UTF-8"
        )
