"""What is not markup, and where it ends: comments, CDATA, and the content of elements such as ``<script>``.

Each is an object with one method, ``read(data, position)``. It answers the position from where to go on and
whether that is markup again; if not, the text goes on in the next chunk, and the answer is how far it was
read for good. The last bytes of a chunk are read again with the next one, as a mark may be cut in two.
"""

import re
from typing import Protocol

from scalekit.cdn._syntax import END_OF_NAME

_TAIL = 16  # longer than any mark, such as "</noframes"


class Text(Protocol):
    """See the module."""

    def read(self, data: bytes, position: int) -> tuple[int, bool]:
        """From where to go on, and whether markup begins there."""
        ...


def _unfinished(data: bytes, position: int) -> tuple[int, bool]:
    return max(position, len(data) - _TAIL), False


class _Until:
    """Up to the end of a mark, or to its beginning."""

    def __init__(self, mark: re.Pattern[bytes], *, inclusive: bool) -> None:
        self._mark, self._inclusive = mark, inclusive

    def read(self, data: bytes, position: int) -> tuple[int, bool]:
        end = self._mark.search(data, position)
        if end is None:
            return _unfinished(data, position)
        return end.end() if self._inclusive else end.start(), True


class _PlainText:
    """Up to the end of the page, whatever comes."""

    def read(self, data: bytes, position: int) -> tuple[int, bool]:
        return len(data), False


class _Script:
    """Up to the script's own end tag (13.2.5.15 to 13.2.5.31).

    ``_escaped`` is 1 after ``<!--``, and 2 after ``<script`` in there, whose ``</script`` leads back to 1.
    """

    _MARK = re.compile(rb"<!--|-->|<(/?)script" + END_OF_NAME, re.IGNORECASE)

    def __init__(self) -> None:
        self._escaped = 0

    def read(self, data: bytes, position: int) -> tuple[int, bool]:
        while mark := self._MARK.search(data, position):
            position = mark.end()
            if mark[0] == b"<!--":
                self._escaped = self._escaped or 1
                position = mark.start() + 2  # "<!-->" opens and closes with the same dashes
            elif mark[0] == b"-->":
                self._escaped = 0
            elif not mark[1]:
                self._escaped = 2 if self._escaped else 0
            elif self._escaped == 2:
                self._escaped = 1
            else:
                return mark.start(), True
        return _unfinished(data, position)


COMMENT: Text = _Until(re.compile(rb"--!?>"), inclusive=True)
BOGUS_COMMENT: Text = _Until(re.compile(rb">"), inclusive=True)
CDATA: Text = _Until(re.compile(rb"\]\]>"), inclusive=True)
PLAINTEXT: Text = _PlainText()

_RAW: dict[bytes, Text] = {
    name: _Until(re.compile(b"</" + name + END_OF_NAME, re.IGNORECASE), inclusive=False)
    for name in (b"style", b"xmp", b"iframe", b"noembed", b"noframes", b"textarea", b"title")
}
_RAW[b"plaintext"] = PLAINTEXT


def content_of(name: bytes) -> Text | None:
    """How the content of an HTML element is read when it is not markup; ``None`` when it is."""
    return _Script() if name == b"script" else _RAW.get(name)
