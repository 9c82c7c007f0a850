"""Replies of the Redis protocol, as they arrive in pieces: by hiredis and without it."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse, MovedError, NoScriptError, ResponseError

from scalekit._redis.replies import NOTHING, PythonReplies, Replies, make_replies

both = pytest.mark.parametrize("make", [PythonReplies, make_replies])


def encode(value: Any) -> bytes:
    """What a server sends for ``value``."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encode, value))
    return b"$%d\r\n%b\r\n" % (len(value), value)


def everything(replies: Replies) -> list[Any]:
    found = []
    while (reply := replies.gets()) is not NOTHING:
        found.append(reply)
    return found


VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5),
)


@both
@given(values=st.lists(VALUES, max_size=4), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_replies_survive_being_cut_anywhere(
    make: Callable[[], Replies], values: list[Any], cuts: list[int]
) -> None:
    """Whole replies come out in their order, however the bytes were cut on their way."""
    data, replies, found = b"".join(map(encode, values)), make(), []
    places = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(places):
        replies.feed(data[start:end])
        found += everything(replies)
    assert found == values


@both
def test_statuses_errors_and_nulls(make: Callable[[], Replies]) -> None:
    """An error is the exception that redis-py has for it, not raised; the next reply follows."""
    replies = make()
    replies.feed(
        b"+OK\r\n*-1\r\n-WRONGTYPE no\r\n-NOSCRIPT none\r\n-MOVED 7 127.0.0.1:6380\r\n*1\r\n-ERR in\r\n:1\r\n"
    )
    status, null, wrong, script, moved, nested, last = everything(replies)
    assert (status, null, last) == (b"OK", None, 1)
    assert type(wrong) is ResponseError
    assert type(script) is NoScriptError
    assert isinstance(moved, MovedError)
    assert (moved.slot_id, moved.host, moved.port) == (7, "127.0.0.1", 6380)
    assert type(nested[0]) is ResponseError


@both
@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\n", b"$many\r\n", b"\r\n"])
def test_what_is_no_reply_is_said_to_be_none(make: Callable[[], Replies], data: bytes) -> None:
    """Whoever listens on the port: it does not pass for an answer."""
    replies = make()
    replies.feed(data)
    with pytest.raises(InvalidResponse):
        replies.gets()
