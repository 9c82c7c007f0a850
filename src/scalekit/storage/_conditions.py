"""Conditional requests and ranges, as RFC 9110 has them in its sections 13 and 14. Pure.

Rules:

* The order is that of 13.2.2: ``If-Match``, or else ``If-Unmodified-Since``; then ``If-None-Match``, or else
  ``If-Modified-Since``; then ``Range``, if ``If-Range`` allows it.
* Entity tags are ours and strong. ``If-Match`` and ``If-Range`` compare strongly, ``If-None-Match`` weakly.
* Dates count seconds. One that is none, or comes twice, is as good as none.
* One range is answered with that range. Several are answered with the whole object, as 14.2 allows: each
  would be a request of its own to a storage such as S3, between which the object can change.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from scalekit._http import get, matches_etag
from scalekit.types import Headers

# More digits would only be an attempt to make int() work hard.
_RANGE = re.compile(rb"bytes[ \t]*=[ \t]*(\d{1,18})?[ \t]*-[ \t]*(\d{1,18})?[ \t]*", re.IGNORECASE)
_LONGEST_DATE = 40


def refusal(headers: Headers, etag: bytes, modified: datetime) -> HTTPStatus | None:
    """412 or 304 if the conditions of a GET or HEAD request say so, ``None`` if the object is to be sent.

    Args:
        etag: of the object, with its quotes.
        modified: when it was stored.
    """
    modified = modified.replace(microsecond=0)
    if (wanted := get(headers, b"if-match")) is not None:
        if not _names(wanted, etag):
            return HTTPStatus.PRECONDITION_FAILED
    elif (since := _date(headers, b"if-unmodified-since")) is not None and modified > since:
        return HTTPStatus.PRECONDITION_FAILED
    if (known := get(headers, b"if-none-match")) is not None:
        return HTTPStatus.NOT_MODIFIED if matches_etag(known, etag) else None
    since = _date(headers, b"if-modified-since")
    return HTTPStatus.NOT_MODIFIED if since is not None and modified <= since else None


def wanted_range(headers: Headers, etag: bytes, modified: datetime, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last of a GET request's range; ``None`` if the whole is to be sent.

    A range of which there is nothing (416) comes back empty: its end is not behind its start.
    """
    match = _RANGE.fullmatch((get(headers, b"range") or b"").strip())
    if match is None or match.groups() == (None, None) or not size:  # there is no range of nothing
        return None
    condition = get(headers, b"if-range")
    if condition is not None and condition != etag and not _is_date_of(headers, modified):
        return None
    first, last = match.groups()
    if first is None:
        start, stop = max(0, size - int(last)), size
    elif last is not None and int(last) < int(first):
        return None
    else:
        start, stop = int(first), size if last is None else min(size, int(last) + 1)
    return None if (start, stop) == (0, size) else (start, stop)


def _names(tags: bytes, etag: bytes) -> bool:
    found = {tag.strip() for tag in tags.split(b",")}
    return etag in found or b"*" in found


def _is_date_of(headers: Headers, modified: datetime) -> bool:
    # Exactly (13.1.5): what was stored later may be older, restored from a backup.
    return _date(headers, b"if-range") == modified.replace(microsecond=0)


def _date(headers: Headers, name: bytes) -> datetime | None:
    values = [value for header, value in headers if header == name]
    if len(values) != 1 or len(values[0]) > _LONGEST_DATE or values[0].count(b",") > 1:
        return None
    try:
        date = parsedate_to_datetime(values[0].decode("latin-1"))
    except (ValueError, OverflowError):
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date
