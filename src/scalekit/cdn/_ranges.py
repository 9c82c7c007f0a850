"""``Range`` (RFC 9110, 14.2): one range of bytes, or the whole."""

import re

_RANGE = re.compile(rb"bytes[ \t]*=[ \t]*(\d*)[ \t]*-[ \t]*(\d*)[ \t]*", re.IGNORECASE)
_MAX_DIGITS = 18  # more would only be an attempt to make int() work hard


def span(value: bytes, size: int) -> tuple[int, int] | None:
    """First and after-last byte of a range; ``(0, 0)`` when there are none such; ``None`` to send all."""
    match = _RANGE.fullmatch(value.strip())
    if match is None or not (match[1] or match[2]) or max(len(match[1]), len(match[2])) > _MAX_DIGITS:
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        return (size - length, size) if length else (0, 0)
    start = int(match[1])
    stop = int(match[2]) + 1 if match[2] else size
    if match[2] and stop <= start:
        return None
    return (start, min(stop, size)) if start < size else (0, 0)
