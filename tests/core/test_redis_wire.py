"""Commands as bytes, and the key that routes them."""

import pytest

from scalekit._redis.wire import Argument, _pack, key_of, pack


@pytest.mark.parametrize("packer", [pack, _pack])
def test_arguments_become_bulk_strings(packer: object) -> None:
    """str, bytes, int and float are sent as they read; the packers with and without hiredis agree."""
    assert callable(packer)
    assert packer(("SET", b"\x00k", "é", 12, -1.5)) == (
        b"*5\r\n$3\r\nSET\r\n$2\r\n\x00k\r\n$2\r\n\xc3\xa9\r\n$2\r\n12\r\n$4\r\n-1.5\r\n"
    )


@pytest.mark.parametrize("packer", [pack, _pack])
@pytest.mark.parametrize("value", [None, True, ["a"], object()])
def test_other_types_are_refused(packer: object, value: object) -> None:
    """None and bool have no one spelling in Redis; a caller says which one is meant."""
    assert callable(packer)
    with pytest.raises(TypeError, match="str, int, float or bytes"):
        packer(("SET", "k", value))


@pytest.mark.parametrize(
    ("args", "key"),
    [
        (("GET", "k"), "k"),
        ((b"get", b"k"), b"k"),
        (("MGET", "a", "b"), "a"),
        (("PING",), None),
        (("EVAL", "return 1", 0, "argument"), None),
        (("EVALSHA", "sha", 2, "a", "b", "argument"), "a"),
        ((b"evalsha", "sha", 1, b"a"), b"a"),
        (("GET", 7), "7"),
    ],
)
def test_the_key_decides_the_node(args: tuple[Argument, ...], key: str | bytes | None) -> None:
    """The first argument, or a script's first key."""
    assert key_of(args) == key
