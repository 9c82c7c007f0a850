"""A piece of text as the page writes it, and as a browser reads it."""

from collections.abc import Iterable, Iterator

from scalekit.cdn import _entities
from scalekit.cdn._targets import Change
from scalekit.cdn._tokenizer import Edit


class Written:
    """Turns changes of a value into edits of its source, and leaves all else of the source as it is.

    Args:
        source: the bytes of the page.
        charset: the page's encoding.
        references: whether character references count, as they do in an attribute.

    ``value`` is what a browser reads; bytes that are none of that encoding count as letters of no name. It is
    empty when encoding it does not give the same bytes, so that nothing in it changes: who knows where
    anything stands then.
    """

    def __init__(self, source: bytes, charset: str, *, references: bool) -> None:
        self._charset = charset
        self._text = source.decode(charset, "surrogateescape")
        # Where each character is one byte there is nothing to count.
        self._single = len(self._text) == len(source)
        if not (self._single or self._is_certain(source)):
            self._text = ""
        self.value, self._marks = self._text, None
        if references:
            self.value, self._marks = _entities.decode_marked(self._text)

    def edits(self, changes: Iterable[Change]) -> Iterator[Edit]:
        """The edits of the source. Changes are in order, and write ASCII."""
        done = offset = 0
        for begin, stop, new in changes:
            edges: list[int] = []
            for edge in (begin, stop):
                position = edge if self._marks is None else self._marks[edge]
                passed = self._text[done:position]
                offset += len(passed) if self._single else len(self._bytes(passed))
                done = position
                edges.append(offset)
            yield edges[0], edges[1], new.encode("ascii")

    def _is_certain(self, source: bytes) -> bool:
        try:
            return self._bytes(self._text) == source
        except UnicodeEncodeError:
            return False

    def _bytes(self, text: str) -> bytes:
        return text.encode(self._charset, "surrogateescape")
