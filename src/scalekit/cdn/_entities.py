"""Character references in attribute values (HTML standard, 13.2.5.72 to 13.2.5.80).

``html.unescape`` follows the rules for text, where ``&copy=1`` is ``©=1``. In an attribute it is not: a
name without its semicolon counts only when neither ``=`` nor a letter or digit follows, or every second
query string would break.
"""

import html
import re
from html.entities import html5

_REFERENCE = re.compile(r"&(?:#(?:[xX][0-9a-fA-F]+|[0-9]+);?|[a-zA-Z][a-zA-Z0-9]*+(?:;|(?!=)))")
_MAX_DIGITS = 7


def _character(match: re.Match[str]) -> str:
    token = match[0]
    if token[1] != "#":
        return html5.get(token[1:], token)
    mark = token[:3] if token[2] in "xX" else "&#"
    digits = token[len(mark) :].rstrip(";").lstrip("0")
    # Of more digits than any character has, html.unescape would make an error when they are thousands.
    if len(digits) > _MAX_DIGITS:
        return "\ufffd"
    # Of a control character nothing is left there; a browser complains of it, and has it.
    return html.unescape(f"{mark}{digits or 0};") or chr(int(digits, 10 if mark == "&#" else 16))


def decode(text: str) -> str:
    """An attribute's source as the value a browser sees."""
    return _REFERENCE.sub(_character, text) if "&" in text else text


def decode_marked(text: str) -> tuple[str, list[int] | None]:
    """The same, and where in ``text`` each of the value's characters stands, and its end; ``None``: there."""
    if "&" not in text:
        return text, None
    pieces: list[str] = []
    marks: list[int] = []
    done = 0
    for match in _REFERENCE.finditer(text):
        plain = _character(match)
        if plain != match[0]:
            pieces += text[done : match.start()], plain
            marks += range(done, match.start())
            marks += [match.start()] * len(plain)
            done = match.end()
    marks += range(done, len(text) + 1)
    return "".join(pieces) + text[done:], marks
