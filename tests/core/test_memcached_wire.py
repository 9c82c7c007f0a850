"""Memcached's protocol as bytes: whatever the network makes of them, and whatever is no Memcached."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit._memcached import wire
from scalekit._memcached.errors import Malformed
from scalekit._memcached.wire import Found, Replies, Reply

LINES = [b"END", b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"DELETED", b"SERVER_ERROR no"]
LINES += [b"HD", b"HD c7 t60", b"EN", b"NS", b"EX c0", b"NF", b"MN"]
values = st.one_of(
    st.binary(max_size=50), st.sampled_from([b"\r\n", b"END\r\n", b"a\r\nVALUE k 0 1 1\r\nb", b"VA 1\r\nx"])
)
replies = st.lists(
    st.one_of(
        st.builds(Reply, st.sampled_from(LINES), st.none()),
        st.builds(
            lambda value, version: Reply(b"END", Found(value, version)),
            values,
            st.integers(1, 2**64 - 1),
        ),
        st.builds(lambda value: Reply(b"VA %d c7 t60" % len(value), Found(value, 0)), values),
    ),
    max_size=6,
)


def spelled(reply: Reply) -> bytes:
    if reply.line.startswith(b"VA ") and reply.found is not None:
        return reply.line + b"\r\n" + reply.found.value + b"\r\n"
    head = b""
    if reply.found is not None:
        head = b"VALUE k 0 %d %d\r\n%b\r\n" % (len(reply.found.value), reply.found.version, reply.found.value)
    return head + reply.line + b"\r\n"


@given(replies, st.data())
def test_replies_come_out_as_they_were_sent(sent: list[Reply], data: st.DataObject) -> None:
    """However the network cuts them, and whatever a value has in it."""
    stream = b"".join(map(spelled, sent))
    reader, received, position = Replies(), [], 0
    while position < len(stream):
        end = data.draw(st.integers(position + 1, len(stream)))
        reader.feed(stream[position:end])
        position = end
        while (reply := reader.next()) is not None:
            received.append(reply)
    assert received == sent
    assert not reader.pending


@given(st.binary(max_size=200))
def test_anything_else_is_told_or_awaited(noise: bytes) -> None:
    """Bytes of something else are lines, or not complete, or Malformed: never another error."""
    reader = Replies()
    reader.feed(noise)
    try:
        while (reply := reader.next()) is not None:
            assert isinstance(reply.line, bytes)
    except Malformed:
        pass
    else:
        assert reader.pending or noise.endswith(b"\r\n") or not noise


@pytest.mark.parametrize(
    "noise",
    [
        b"x" * 3000,
        b"VALUE k 0 1\r\n",
        b"VALUE k 0 -1 1\r\n",
        b"VALUE k 0 1 1\r\nabc",
        b"VALUE k 0 9999999999 1\r\n",
        b"VA\r\n",
        b"VA -1 c1\r\n",
        b"VA 1 c1 t5\r\nabc",
        b"VA 9999999999 c1\r\n",
        b"VALID\r\n",
    ],
)
def test_what_is_no_memcached_is_malformed(noise: bytes) -> None:
    """An endless line, a value without an end, a size that cannot be."""
    reader = Replies()
    reader.feed(noise)
    with pytest.raises(Malformed):
        reader.next()


def test_a_connection_is_fit_after_what_it_knows() -> None:
    """After an error that may leave the two sides apart it is not."""
    assert all(Reply(line, None).fit for line in LINES)
    assert not any(
        Reply(line, None).fit for line in (b"ERROR", b"CLIENT_ERROR bad data chunk", b"HTTP/1.1 400", b"HDX")
    )


def test_commands() -> None:
    """As the protocol spells them."""
    assert wire.gets(b"k") == b"gets k\r\n"
    assert wire.add(b"k", b"\r\n", 60) == b"add k 0 60 2\r\n\r\n\r\n"
    assert wire.cas(b"k", b"v", 7, -1) == b"cas k 0 -1 1 7\r\nv\r\n"
    assert wire.delete(b"k") == b"delete k\r\n"
