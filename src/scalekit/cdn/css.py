"""``url()`` and ``@import`` in style sheets: where they point, and how to point them at hashed names.

Works on bytes, so that whatever is not a reference stays as it is. Comments, other strings and escapes, such
as those in a selector ``.before\\:content-\\[\\'\\'\\]``, are passed over; a reference that is no asset
(``data:``, another host, a missing file) is left alone.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

from scalekit.cdn._urls import normalise, split

_STRING = rb"""(?:"((?:[^"\\\n\r\f]|\\(?:\r\n|.))*+)"|'((?:[^'\\\n\r\f]|\\(?:\r\n|.))*+)')"""
_BARE = rb"((?:[^\"'()\\\x00-\x20\x7f]|\\[^\n\r\f])++)"
_GAP = rb"(?:[ \t\n\f\r]++|/\*(?:[^*]|\*(?!/))*+\*/)*+"
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
_NOT_OURS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//|[?#]|\Z")
# What may stand behind the path without a second thought about quoting.
_PLAIN_SUFFIX = re.compile(r"[?#][\w\-.~!$&*+,;=:@/?#%]*|\Z")

Rename = Callable[[str], str | None]
"""From a reference's asset name to the name to write, or ``None`` to leave it."""


def _unescape(match: re.Match[str]) -> str:
    code, newline, letter = match.groups()
    if code:
        point = int(code, 16)
        return chr(point) if 0 < point < 0x110000 and not 0xD800 <= point < 0xE000 else "\ufffd"
    return "" if newline else letter


def _target(value: str, name: str, prefix: str) -> tuple[str, str] | None:
    """The asset name that ``value`` in the style sheet ``name`` means, and its query and fragment."""
    path, suffix = split(value)
    if _NOT_OURS.match(path) or not _PLAIN_SUFFIX.fullmatch(suffix):
        return None
    folder = quote(name[: name.rfind("/") + 1])
    plain = normalise(path if path.startswith("/") else prefix + folder + path)
    if plain is None or not plain.startswith(prefix):
        return None
    return plain[len(prefix) :], suffix


def spans(source: bytes) -> Iterator[tuple[int, int]]:
    """Where the URLs of ``url()`` and ``@import`` stand in a style sheet."""
    for match in _TOKEN.finditer(source):
        group = match.lastindex
        if group is not None and group <= _LAST_REFERENCE:
            yield match.span(group)


def unescape(text: str) -> str:
    """What a URL is whose source is ``text``."""
    return _ESCAPE.sub(_unescape, text) if "\\" in text else text


def _references(source: bytes, name: str, prefix: str) -> Iterator[tuple[int, int, str, str]]:
    for start, stop in spans(source):
        try:
            value = source[start:stop].decode()
        except UnicodeDecodeError:
            continue
        if found := _target(unescape(value).strip(), name, prefix):
            yield start, stop, *found


def references(source: bytes, *, name: str, prefix: str) -> set[str]:
    """The asset names that the style sheet ``name`` refers to, existing or not."""
    return {target for _, _, target, _ in _references(source, name, prefix)}


def rewrite(source: bytes, *, name: str, prefix: str, rename: Rename) -> bytes:
    """The style sheet with its references renamed; they become relative, so that any host can serve them.

    Args:
        source: the style sheet.
        name: its own name below ``prefix``, such as ``"css/site.css"``.
        prefix: the URL path that assets live under, such as ``"/static/"``.
        rename: what to call each asset it refers to.
    """
    pieces: list[bytes] = []
    done = 0
    for start, stop, target, suffix in _references(source, name, prefix):
        renamed = rename(target)
        if renamed is not None:
            relative = posixpath.relpath(renamed, posixpath.dirname(name) or ".")
            pieces += source[done:start], (quote(relative) + suffix).encode()
            done = stop
    return b"".join(pieces) + source[done:]
