"""Which namespace the tokenizer is in (HTML standard, 13.2.6, reduced to that question).

Inside ``<svg>`` and ``<math>`` the tokenizer follows other rules: ``<![CDATA[`` opens a section, and
``<style>``, ``<title>`` and ``<script>`` hold markup like any other element. Only the tree builder knows
whether that is so, hence this small part of it: the open elements from the outermost foreign one inwards.

Two simplifications, both about markup that is broken already: HTML elements inside an integration point
close only by their own end tags, and an end tag that matches nothing here leaves foreign content if it
is the name of an HTML container, as it then closes an element further out.

A tag costs the same however deep it stands, and what is deeper than ``DEPTH_LIMIT`` is not followed: no page
can make the rewriter slow, or hold more.
"""

from collections import Counter
from typing import NamedTuple


def _names(text: bytes) -> frozenset[bytes]:
    return frozenset(text.split())


_BREAKOUT = _names(
    b"b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing "
    b"menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul var"
)
_CONTAINERS = _BREAKOUT | _names(
    b"address article aside button caption details dialog fieldset figcaption figure footer form header "
    b"hgroup html label main nav noscript object optgroup option search section select summary tbody td "
    b"template tfoot th thead tr"
)
_VOID = _names(
    b"area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr"
)
_FONT = frozenset({b"color", b"face", b"size"})
_SVG_POINTS = frozenset({b"foreignobject", b"desc", b"title"})
_MATH_POINTS = frozenset({b"mi", b"mo", b"mn", b"ms", b"mtext"})

HTML, SVG, MATH = "html", "svg", "math"

DEPTH_LIMIT = 1024
"""Open elements. Twice what browsers nest before they flatten a page."""


class _Element(NamedTuple):
    """An open element.

    ``content`` is the namespace of the start tags directly inside it, which is HTML at an integration point.
    End tags in there reach only as far up as the first element in it, whose depth is the ``scope`` of all
    that it contains.
    """

    name: bytes
    namespace: str
    content: str
    scope: int


class ForeignContent:
    """The open elements from an ``<svg>`` or ``<math>`` inwards; false while there is none.

    Names are lower-case. A tag's ``attributes`` are needed for two names only, see :meth:`needs_attributes`.
    """

    __slots__ = ("_names", "_open")

    def __init__(self) -> None:
        self._open: list[_Element] = []
        # How often a name is open in a scope, so that an end tag that matches nothing need not look for it.
        self._names: Counter[tuple[int, bytes]] = Counter()

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def namespace(self) -> str:
        """Of the current node: ``"html"``, ``"svg"`` or ``"math"``."""
        return self._open[-1].namespace if self._open else HTML

    @property
    def too_deep(self) -> bool:
        """Whether there are more open elements than are followed."""
        return len(self._open) > DEPTH_LIMIT

    @staticmethod
    def needs_attributes(name: bytes) -> bool:
        """Whether what a start tag does depends on its attributes."""
        return name in (b"font", b"annotation-xml")

    def start(self, name: bytes, attributes: dict[bytes, bytes], *, self_closing: bool) -> str:
        """Take a start tag; the answer is the namespace of the element it makes."""
        namespace = self._namespace_for(name, attributes)
        if namespace != HTML:
            if not self_closing:
                self._push(name, namespace, self._content(name, namespace, attributes))
        elif self._open and name not in _VOID:
            self._push(name, HTML, HTML)
        return namespace

    def end(self, name: bytes) -> None:
        """Take an end tag."""
        if name in (b"br", b"p") and self.namespace != HTML:
            self._break_out()
        scope = self._open[-1].scope if self._open else 0
        if self._names[scope, name]:
            while self._pop() != name:
                pass
        elif scope == 0 and name in _CONTAINERS:
            self._open.clear()
            self._names.clear()

    def _push(self, name: bytes, namespace: str, content: str) -> None:
        begins = not self._open or (namespace == HTML and self.namespace != HTML)
        scope = len(self._open) if begins else self._open[-1].scope
        self._open.append(_Element(name, namespace, content, scope))
        self._names[scope, name] += 1

    def _pop(self) -> bytes:
        element = self._open.pop()
        key = element.scope, element.name
        self._names[key] -= 1
        if not self._names[key]:
            del self._names[key]
        return element.name

    def _break_out(self) -> None:
        while self._open and self._open[-1].content != HTML:
            self._pop()

    def _namespace_for(self, name: bytes, attributes: dict[bytes, bytes]) -> str:
        if self._open:
            current = self._open[-1]
            stays = current.name in _MATH_POINTS and name in (b"mglyph", b"malignmark")
            svg_in_annotation = (
                current.name == b"annotation-xml" and current.namespace == MATH and name == b"svg"
            )
            if (
                current.namespace != HTML
                and (current.content != HTML or (current.namespace == MATH and stays))
                and not svg_in_annotation
            ):
                if name not in _BREAKOUT and not (name == b"font" and attributes.keys() & _FONT):
                    return current.namespace
                self._break_out()
        return {b"svg": SVG, b"math": MATH}.get(name, HTML)

    @staticmethod
    def _content(name: bytes, namespace: str, attributes: dict[bytes, bytes]) -> str:
        if namespace == SVG:
            return HTML if name in _SVG_POINTS else SVG
        if name == b"annotation-xml":
            html = attributes.get(b"encoding", b"").lower() in (b"text/html", b"application/xhtml+xml")
            return HTML if html else MATH
        return HTML if name in _MATH_POINTS else MATH
