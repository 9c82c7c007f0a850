"""The grammar of ``Content-Type``, for values that come from clients and go into headers. Pure.

Rules:

* A type is two restricted names of RFC 6838, 4.2, and nothing else. ``*`` is for patterns. A comma would make
  it several types, of which browsers take the last: ``text/csv, text/html`` is a web page.
* A client's parameters are dropped. The application's own are kept, if they are plain.
"""

import re

from scalekit.errors import ConfigurationError

_NAME = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}"
_ESSENCE = re.compile(rf"{_NAME}/{_NAME}", re.ASCII)
_PATTERN = re.compile(rf"\*/\*|{_NAME}/(\*|{_NAME})", re.ASCII)
_VALUE = r"[a-z0-9_!#$&^.+-]{1,126}"
_WHOLE = re.compile(rf'{_NAME}/{_NAME}( ?; ?{_NAME}=({_VALUE}|"{_VALUE}"))*', re.ASCII | re.IGNORECASE)


def essence_of(content_type: str) -> str:
    """``text/csv`` of ``Text/CSV; header=present``; an empty string if it is no media type."""
    essence = content_type.partition(";")[0].strip(" \t").lower()
    return essence if _ESSENCE.fullmatch(essence) else ""


def is_pattern(text: str) -> bool:
    """Whether ``text`` is like ``image/png``, ``image/*`` or ``*/*``."""
    return _PATTERN.fullmatch(text) is not None


def is_content_type(text: str) -> bool:
    """Whether ``text`` can be sent as it is: a media type, with plain parameters or none."""
    return _WHOLE.fullmatch(text) is not None


def check_content_type(content_type: str) -> str:
    """``content_type`` itself, if it is a media type, with plain parameters or none.

    Raises:
        ConfigurationError: it is not, and must not reach a header.
    """
    if not is_content_type(content_type):
        raise ConfigurationError(
            f"content_type={content_type!r:.120} is no media type; give one such as 'image/png'"
        )
    return content_type
