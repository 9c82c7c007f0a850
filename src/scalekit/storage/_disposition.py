"""``Content-Disposition`` of a response (RFC 6266, file names by RFC 8187). Pure."""

import re
from typing import Literal
from urllib.parse import quote

from scalekit.storage.keys import clean_filename

# What means itself in a quoted string to every browser: no quote, no backslash, no % (some decode that).
_UNSAFE = re.compile(r"[^ !#$&\'()+,\-.0-9;=@A-Z\[\]^_`a-z{}~]")
_ATTR_CHAR = "!#$&+-.^_`|~"


def content_disposition(kind: Literal["inline", "attachment"], filename: str | None) -> str:
    """Show it or save it, and under which name, if there is one.

    A name that not every client understands is sent twice: as it is, for those who know RFC 8187, and with
    ``_`` in the place of what others could misread.
    """
    name = clean_filename(filename or "")
    if not name:
        return kind
    plain = _UNSAFE.sub("_", name)
    value = f'{kind}; filename="{plain}"'
    return value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe=_ATTR_CHAR)}"
