"""The tags of a page while it streams by, and the bytes that go out.

A tokenizer after the HTML standard (13.2.5), over bytes, reduced to tags: what ``_start_tag`` and
``_content`` do not change passes as it is, the same bytes however the page was cut into chunks. Held back is
at most one incomplete start tag, or the text of one element that may change as a whole, each up to a limit.
"""

from collections.abc import Callable, Iterable

from scalekit.cdn._cursor import TagCursor
from scalekit.cdn._foreign import HTML, ForeignContent
from scalekit.cdn._head import Head
from scalekit.cdn._syntax import TAG, TAG_NAME, attributes_of
from scalekit.cdn._text import BOGUS_COMMENT, CDATA, COMMENT, PLAINTEXT, Text, content_of

TAG_LIMIT = 64 * 1024
"""Bytes. A longer tag passes as it is, so that no page can make the rewriter hold more."""

CONTENT_LIMIT = 128 * 1024
"""Bytes. A longer style sheet or import map passes as it is. A browser waits for the end of either, too."""

_NAME_LIMIT = 64
STARVED = -1

Edit = tuple[int, int, bytes]
"""From where to where in the page, and what to write there."""

Editor = Callable[[bytes], Iterable[Edit]]
"""What the text of an element becomes, as edits in order."""


class Tokenizer:
    """Reads a page; :class:`~scalekit.cdn.HtmlRewriter` says what changes.

    A mode takes the data and a position, and answers from where to go on, or ``STARVED``; ``None`` is the
    data state.
    """

    def __init__(self) -> None:
        self._foreign = ForeignContent()
        self._head = Head()
        self._mode: Callable[[bytes, int], int] | None = None
        # The input from where it must be looked at again, and how much of that went out already.
        self._rest, self._sent = b"", 0
        self._out: list[bytes] = []
        self._cut = 0  # up to here the input is in _out, or went out earlier
        #: How many edits were made; insertions are not counted.
        self.count: int = 0

    # What to change.

    def _start_tag(self, data: bytes, opening: int, end: int, name: bytes, namespace: str) -> None:
        """Take a whole start tag of at most ``TAG_LIMIT``."""

    def _content(self, data: bytes, opening: int, end: int, name: bytes) -> Editor | None:
        """What edits the text of an HTML element, when it may have to change."""

    def _edit(self, data: bytes, begin: int, stop: int, new: bytes) -> None:
        self._out += data[self._cut : begin], new
        self._cut = stop
        self.count += begin != stop

    # From chunk to chunk.

    def _run(self, data: bytes, sent: int) -> bytes:
        self._out = []
        self._cut = sent
        position = 0
        while position != STARVED:
            mode = self._mode
            position = self._data(data, position) if mode is None else mode(data, position)
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
        return STARVED

    # The data state: text and tags.

    def _data(self, data: bytes, position: int) -> int:
        size = len(data)
        while position < size:
            position = self._step(data, position)
            if self._mode is not None or position == STARVED:
                return position
        return self._starve(size, size)

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
        self._mode = self._tag_rest
        self._unheld: tuple[bytes, bytes] | None = None
        return self._wait_for_end(data, opening)

    def _wait_for_end(self, data: bytes, opening: int) -> int:
        """Hold an incomplete tag back, unless it is known to need no change."""
        size = len(data)
        if self._unheld is None:
            known = TAG_NAME.match(data, opening)
            ends = known is not None and known[1] and not self._foreign
            if not ends and size - opening < TAG_LIMIT:
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
        self._mode = None
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
            known = short and ForeignContent.needs_attributes(name)
            attributes = attributes_of(data, opening + 1 + len(name), end) if known else {}
            namespace = self._foreign.start(name, attributes, self_closing=cursor.self_closing)
            if self._foreign.too_deep:  # from here on the page passes as it is
                return self._enter(PLAINTEXT, end)
        if short:
            self._start_tag(data, opening, end, name, namespace)
        if not self._foreign and not self._head.over:
            self._head.start(name)
        text = content_of(name) if namespace == HTML else None
        if text is None:
            return end
        editor = self._content(data, opening, end, name) if short else None
        return self._enter(text, end) if editor is None else self._enter_held(text, end, editor)

    # What is not markup.

    def _enter(self, text: Text, position: int) -> int:
        """Go on at ``position`` with what is not markup."""
        self._text = text
        self._mode = self._read_text
        return position

    def _read_text(self, data: bytes, position: int) -> int:
        position, over = self._text.read(data, position)
        if not over:
            return self._starve(position, len(data))
        self._mode = None
        return position

    def _enter_held(self, text: Text, position: int, editor: Editor) -> int:
        """The same, when the text may have to change as a whole."""
        self._text, self._editor = text, editor
        self._scanned = 0
        self._mode = self._hold_text
        return position

    def _hold_text(self, data: bytes, position: int) -> int:
        end, over = self._text.read(data, position + self._scanned)
        if end - position > CONTENT_LIMIT:
            self._mode = None if over else self._read_text
            return end if over else self._starve(end, len(data))
        if not over:
            self._scanned = end - position
            return self._starve(position, position)
        self._mode = None
        for begin, stop, new in self._editor(data[position:end]):
            self._edit(data, position + begin, position + stop, new)
        return end
