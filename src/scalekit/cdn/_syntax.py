"""What the HTML standard's tokenizer (13.2.5) says about tags, as patterns over bytes.

Rules:

* White space is tab, line feed, form feed, carriage return and space; ``\\s`` would add vertical tab.
* A quote opens a value only right after ``=``. Elsewhere it is part of a name, and hides nothing.
* ``/`` ends a tag name and an attribute name, but is part of an unquoted value.
* A tag ends at the first ``>`` outside a quoted value.

Loops over groups stand in atomic groups: nothing in this grammar is ever worth a second try, and giving
characters back would let a hostile page cost exponential time. (Not possessive quantifiers: on groups,
those of Python 3.11.0 to 3.11.4 are faulty.)
"""

import re

END_OF_NAME = rb"[ \t\n\f\r/>]"
"""The byte after a tag's or an attribute's name, as a pattern."""

_VALUE = rb"""[ \t\n\f\r]*+=[ \t\n\f\r]*+(?>"([^"]*+)"|'([^']*+)'|([^ \t\n\f\r>"'][^ \t\n\f\r>]*+)|(?=>))"""
_UNGROUPED = _VALUE.replace(b"([", b"(?:[")
# A "=" behind a name opens a value. If its end has not arrived, the tag is not whole.
_NO_VALUE = rb"(?![ \t\n\f\r]*+=)"

ATTRIBUTE = re.compile(rb"[ \t\n\f\r/]*+([^ \t\n\f\r/>][^ \t\n\f\r/>=]*+)(?:" + _VALUE + rb")?")
"""One attribute. Groups: the name, then the value in double quotes, in single quotes, in none."""


def value_of(attribute: re.Match[bytes]) -> bytes:
    """The source of the attribute's value; empty without one."""
    group = attribute.lastindex or 1
    return b"" if group == 1 else attribute[group]


def attributes_of(page: bytes, start: int, stop: int) -> dict[bytes, bytes]:
    """The attributes of a tag, from the end of its name on: the first of each name, in lower case."""
    attributes: dict[bytes, bytes] = {}
    for match in ATTRIBUTE.finditer(page, start, stop):
        attributes.setdefault(match[1].lower(), value_of(match))
    return attributes


TAG = re.compile(
    rb"<(/?)([a-zA-Z][^ \t\n\f\r/>]*+)(?>(?:[ \t\n\f\r/]++|[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+(?>"
    + _UNGROUPED
    + b"|"
    + _NO_VALUE
    + rb"))*)>"
)
"""A whole tag. Groups: the slash of an end tag, the name."""

TAG_NAME = re.compile(rb"<(/?)([a-zA-Z][^ \t\n\f\r/>]*+)(?=[ \t\n\f\r/>])")
"""The beginning of a tag up to the end of its name, once that is known."""

HIDDEN_BRACKET = re.compile(rb"""=[ \t\n\f\r]*+(?:"[^"<>]*+[<>]|'[^'<>]*+[<>])""")
"""Perhaps an attribute value with an angle bracket between its quotes. In a stretch of markup where this is
not found, the first ``>`` after a tag's beginning is its end."""


def _tags(*beginnings: str) -> re.Pattern[bytes]:
    """Tags that begin with one of these, in any case; all are equally long.

    A character class for each letter narrows the search, which costs no branch of the pattern for the
    thousands of tags that are none of these; only then does the look-behind say which it is.
    """
    letters = [[_any_case(letter) for letter in beginning] for beginning in beginnings]
    classes = (b"[" + b"".join(sorted(set(column))) + b"]" for column in zip(*letters, strict=True))
    names = (b"".join(b"[" + letter + b"]" for letter in name) for name in letters)
    return re.compile(b"<" + b"".join(classes) + b"(?<=<(?:" + b"|".join(names) + b"))")


def _any_case(letter: str) -> bytes:
    return re.escape("".join(sorted({letter.lower(), letter.upper()}))).encode()


_SPECIAL = ("!--", "bas", "ifr", "mat", "noe", "nof", "pla", "scr", "sty", "svg", "tex", "tit", "xmp")

SPECIAL = _tags(*_SPECIAL)
"""A comment, or perhaps a start tag that changes what the text or the relative URLs after it mean."""

HEAD_SPECIAL = _tags(*_SPECIAL, "bod", "nos", "tem", "/no", "/te")
"""The same before ``<body>``, or perhaps a tag that tells whether a ``<base>`` counts."""

FETCHING_TAG = _tags("aud", "emb", "ima", "img", "inp", "lin", "met", "obj", "scr", "sou", "tra", "vid")
"""Perhaps a start tag that has the browser fetch something."""

STYLE_URL = re.compile(rb"\((?<=[uU][rR][lL]\()")
"""The beginning of a URL in a ``style`` attribute, or of any text that looks like it."""

STYLE = re.compile(rb"[ \t\n\f\r/\"'][sS][tT][yY][lL][eE][ \t\n\f\r]*+=")
"""Perhaps a ``style`` attribute."""

PLAIN_SOURCE = re.compile(
    rb"<(?:img|source|video|audio|input)"
    rb"(?>(?:[ \t\n\f\r]++(?![sS][rR][cC][= \t\n\f\r])[^ \t\n\f\r/>\"'=]++(?:=\"[^\"]*+\")?)*)"
    rb"[ \t\n\f\r]++src=\""
)
"""The usual shape of such a tag up to the value of its first ``src``."""
