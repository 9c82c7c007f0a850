"""``url()``, ``@import`` and ``sourceMappingURL`` in style sheets: where they stand and what they mean.

Works on bytes, so that whatever is not a reference stays as it is. Comments, other strings and escapes, such
as those in a selector ``.before\\:content-\\[\\'\\'\\]``, are passed over.
"""

import re
from collections.abc import Iterator

from scalekit.cdn._references import Reference, resolve, source_map

_STRING = rb"""(?:"((?>(?:[^"\\\n\r\f]|\\(?:\r\n|.))*))"|'((?>(?:[^'\\\n\r\f]|\\(?:\r\n|.))*))')"""
_BARE = rb"((?>(?:[^\"'()\\\x00-\x20\x7f]|\\[^\n\r\f])+))"
_GAP = rb"(?>(?:[ \t\n\f\r]++|/\*(?>(?:[^*]|\*(?!/))*)\*/)*)"
_TOKEN = re.compile(
    rb"/\*(?:.*?\*/|.*)"
    rb"|(?<![-\w\\])url\([ \t\n\f\r]*+(?:" + _STRING + rb"|" + _BARE + rb")[ \t\n\f\r]*+\)"
    rb"|@import" + _GAP + _STRING + rb"|" + _STRING + rb"|\\.",
    re.DOTALL | re.IGNORECASE,
)
_LAST_REFERENCE = (
    5  # of its groups: strings in url(), a bare url(), strings after @import; then other strings
)
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})(?:\r\n|[ \t\n\f\r])?|(\r\n|[\n\r\f])|(.))", re.DOTALL)
_SOURCE_MAP = re.compile(rb"/\*[#@][ \t]+sourceMappingURL=([^\s'\"*]+)\s*\*/\s*\Z")


def _unescape(match: re.Match[str]) -> str:
    code, newline, letter = match.groups()
    if code:
        point = int(code, 16)
        return chr(point) if 0 < point < 0x110000 and not 0xD800 <= point < 0xE000 else "\ufffd"
    return "" if newline else letter


def spans(source: bytes) -> Iterator[tuple[int, int]]:
    """Where the URLs of ``url()`` and ``@import`` stand in a style sheet."""
    for match in _TOKEN.finditer(source):
        group = match.lastindex
        if group is not None and group <= _LAST_REFERENCE:
            yield match.span(group)


def unescape(text: str) -> str:
    """What a URL is whose source is ``text``."""
    return _ESCAPE.sub(_unescape, text) if "\\" in text else text


def references(source: bytes, *, name: str, prefix: str) -> list[Reference]:
    """What the style sheet ``name`` refers to, its source map included.

    Args:
        source: the style sheet.
        name: its own name below ``prefix``, such as ``"css/site.css"``.
        prefix: the URL path that assets live under, such as ``"/static/"``.
    """
    found = []
    for start, stop in spans(source):
        try:
            value = source[start:stop].decode()
        except UnicodeDecodeError:
            continue
        if meant := resolve(unescape(value).strip(), name=name, prefix=prefix):
            found.append(Reference(start, stop, *meant, "url"))
    if map_ := source_map(source, _SOURCE_MAP, name=name, prefix=prefix):
        found.append(map_)
    return found
