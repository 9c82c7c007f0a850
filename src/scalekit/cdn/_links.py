"""``Link`` headers: what a page has fetched ahead, in its response or in early hints before it.

Rules:

* The grammar is RFC 8288's. From where a value does not follow it, it stays as it is.
* A link changes as the ``<link>`` of a page with the same attributes would: ``preload``, ``modulepreload``
  and style sheets do, ``preconnect``, ``canonical`` and all other relations never. Where the tag would get
  ``integrity`` or ``crossorigin``, so does the link; without, the browser would fetch the file again.
* The target changes, and the candidates of ``imagesrcset``; every other byte stays.
* A link with an ``anchor`` is about another document and stays.
"""

import re
from collections.abc import Callable, Iterator
from html import escape

from scalekit.cdn import _entities
from scalekit.cdn._syntax import attributes_of

_TARGET = re.compile(rb"[ \t,]*+<([^<>]*+)>")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_PARAMETER = re.compile(
    rb"[ \t]*+;[ \t]*+(?:(" + _TOKEN + rb')(?:[ \t]*+=[ \t]*+(?:"((?>(?:[^"\\]|\\.)*))"|([^\s;,"]*+)))?)?'
)
_END = re.compile(rb"[ \t]*+(?:,|$)")
_ATTRIBUTE = re.compile(rb"[a-z]+")
_PAIR = re.compile(rb"\\(.)", re.DOTALL)

Rewrite = Callable[[bytes], bytes]
"""What becomes of a tag."""


def rewrite(value: bytes, tag: Rewrite) -> bytes:
    """A ``Link`` header with the targets that the tags of a page would have."""
    out: list[bytes] = []
    done = 0
    for start, stop, new in _edits(value, tag):
        out += value[done:start], new
        done = stop
    return b"".join([*out, value[done:]]) if out else value


def _edits(value: bytes, tag: Rewrite) -> Iterator[tuple[int, int, bytes]]:
    position = 0
    while target := _TARGET.match(value, position):
        position = target.end()
        parameters: dict[bytes, re.Match[bytes]] = {}
        while parameter := _PARAMETER.match(value, position):
            position = parameter.end()
            if parameter[1]:
                parameters.setdefault(parameter[1].lower(), parameter)
        end = _END.match(value, position)
        if end is None:
            return
        if b"anchor" not in parameters:
            yield from _changes(target, parameters, position, tag)
        position = end.end()


def _changes(
    target: re.Match[bytes], parameters: dict[bytes, re.Match[bytes]], behind: int, tag: Rewrite
) -> Iterator[tuple[int, int, bytes]]:
    before = {b"href": target[1]}
    before |= {name: _text(found) for name, found in parameters.items() if _ATTRIBUTE.fullmatch(name)}
    source = b"<link" + b"".join(_written(*pair) for pair in before.items()) + b">"
    result = tag(source)
    if result == source:
        return
    after = {name: _read(value) for name, value in attributes_of(result, len(b"<link"), len(result)).items()}
    if after[b"href"] != target[1]:
        yield *target.span(1), after[b"href"]
    images = parameters.get(b"imagesrcset")
    # One with escapes stays: it is nobody's way to write URLs.
    if images is not None and images[2] == before[b"imagesrcset"] != after[b"imagesrcset"]:
        yield *images.span(2), after[b"imagesrcset"]
    added = b"".join(b'; %b="%b"' % pair for pair in after.items() if pair[0] not in before)
    if added:
        yield behind, behind, added


def _text(parameter: re.Match[bytes]) -> bytes:
    if parameter[2] is not None:
        return _PAIR.sub(rb"\1", parameter[2])
    return parameter[3] or b""


def _written(name: bytes, value: bytes) -> bytes:
    return b' %b="%b"' % (name, escape(value.decode("latin-1")).encode("latin-1"))


def _read(value: bytes) -> bytes:
    return _entities.decode(value.decode("latin-1")).encode("latin-1")
