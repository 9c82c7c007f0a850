"""Conditions and ranges of RFC 9110, by themselves."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.storage._conditions import refusal, wanted_range

ETAG = b'"v2"'
STORED = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
SAME, BEFORE, AFTER = (
    format_datetime(STORED + timedelta(seconds=offset), usegmt=True).encode() for offset in (0, -1, 1)
)


def asked(**headers: bytes) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value) for name, value in headers.items()]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, None),
        ({"if_match": ETAG}, None),
        ({"if_match": b'"v1", "v2"'}, None),
        ({"if_match": b"*"}, None),
        ({"if_match": b'"v1"'}, 412),
        ({"if_match": b'W/"v2"'}, 412),
        ({"if_unmodified_since": SAME}, None),
        ({"if_unmodified_since": AFTER}, None),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_match": ETAG, "if_unmodified_since": BEFORE}, None),
        ({"if_match": b'"v1"', "if_unmodified_since": AFTER}, 412),
        ({"if_none_match": ETAG}, 304),
        ({"if_none_match": b'W/"v2"'}, 304),
        ({"if_none_match": b"*"}, 304),
        ({"if_none_match": b'"v1"'}, None),
        ({"if_modified_since": SAME}, 304),
        ({"if_modified_since": AFTER}, 304),
        ({"if_modified_since": BEFORE}, None),
        ({"if_none_match": b'"v1"', "if_modified_since": AFTER}, None),
        ({"if_match": b'"v1"', "if_none_match": ETAG}, 412),
        ({"if_match": ETAG, "if_none_match": ETAG}, 304),
        ({"if_unmodified_since": SAME, "if_modified_since": SAME}, 304),
        ({"if_modified_since": b"yesterday"}, None),
        ({"if_unmodified_since": b"yesterday"}, None),
        ({"if_modified_since": b"Sunday, 01-Mar-26 12:00:00 GMT"}, 304),
        ({"if_modified_since": b"Sun Mar  1 12:00:00 2026"}, 304),
        ({"if_modified_since": b"Sun, 01 Mar 2026 12:00:00 GMT, Sun, 01 Mar 2026 12:00:00 GMT"}, None),
    ],
)
def test_the_order_of_conditions(headers: dict[str, bytes], status: int | None) -> None:
    """22. Conditions are weighed in the order of RFC 9110, 13.2.2; a date that is none counts for nothing."""
    assert refusal(asked(**headers), ETAG, STORED) == status


@pytest.mark.parametrize("name", [b"if-modified-since", b"if-unmodified-since"])
def test_a_date_that_comes_twice(name: bytes) -> None:
    """22. Of two dates nobody knows which is meant."""
    assert refusal([(name, BEFORE), (name, AFTER)], ETAG, STORED) is None


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (None, True),
        (ETAG, True),
        (SAME, True),
        (b'"v1"', False),
        (b'W/"v2"', False),
        (BEFORE, False),
        (AFTER, False),
        (b"yesterday", False),
        (b"", False),
    ],
)
def test_a_range_of_a_version(condition: bytes | None, holds: bool) -> None:
    """22. If-Range lets the range through for exactly this version, by entity tag or by date."""
    headers = asked(range=b"bytes=2-4") + ([] if condition is None else asked(if_range=condition))
    assert wanted_range(headers, ETAG, STORED, 10) == ((2, 5) if holds else None)


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        (b"bytes=0-3", (0, 4)),
        (b"Bytes = 4 - ", (4, 10)),
        (b"bytes=-3", (7, 10)),
        (b"bytes=8-100", (8, 10)),
        (b"bytes=10-", (10, 10)),
        (b"bytes=10-20", (10, 10)),
        (b"bytes=-0", (10, 10)),
        (b"bytes=-100", None),
        (b"bytes=0-", None),
        (b"bytes=5-4", None),
        (b"bytes=0-1,3-4", None),
        (b"bytes=0-1, 2-3", None),
        (b"bytes=-", None),
        (b"bytes=", None),
        (b"bytes=1", None),
        (b"bytes=+1-2", None),
        (b"bytes=" + b"9" * 5000 + b"-", None),
        ("bytes=٣-".encode(), None),
        (b"lines=1-2", None),
    ],
)
def test_ranges(wanted: bytes, span: tuple[int, int] | None) -> None:
    """22. One range, or everything; what is behind the end is empty."""
    start_stop = wanted_range(asked(range=wanted), ETAG, STORED, 10)
    if start_stop is not None and start_stop[0] >= 10:
        start_stop = (10, 10)
    assert start_stop == span


@given(st.dictionaries(st.sampled_from(["if_match", "if_none_match", "if_modified_since", "if_range",
                                        "if_unmodified_since", "range"]), st.binary(max_size=60)),
       st.integers(0, 20))  # fmt: skip
def test_whatever_is_asked(headers: dict[str, bytes], size: int) -> None:
    """22. No header breaks the answer, and no range reaches beyond the object."""
    assert refusal(asked(**headers), ETAG, STORED) in (None, 304, 412)
    span = wanted_range(asked(**headers), ETAG, STORED, size)
    assert span is None or span[0] >= size or 0 <= span[0] < span[1] <= size


@given(st.text("0123456789 :,-+GMTJanSu/()\n", max_size=40))
def test_whatever_is_no_date(text: str) -> None:
    """22. Nor does what only looks like a date."""
    value = text.encode()
    assert refusal(asked(if_modified_since=value, if_unmodified_since=value), ETAG, STORED) in (
        None,
        304,
        412,
    )
