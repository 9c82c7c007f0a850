"""Commands as bytes, and the key that routes them."""

import subprocess
import sys
from enum import IntEnum
from typing import Any

import pytest

from scalekit._redis.wire import Argument, key_of, pack


def test_arguments_become_bulk_strings() -> None:
    """str, bytes, int and float are sent as they read, of whatever length, and so are their subclasses."""

    class Word(str):
        __slots__ = ()

    class Number(IntEnum):
        SEVEN = -7

    command = ("SET", b"\x00k", "é", 12, -1.5, Word("w"), Number.SEVEN, b"x" * 255, b"x" * 256)
    assert pack(command) == (
        b"*9\r\n$3\r\nSET\r\n$2\r\n\x00k\r\n$2\r\n\xc3\xa9\r\n$2\r\n12\r\n$4\r\n-1.5\r\n$1\r\nw\r\n"
        b"$2\r\n-7\r\n$255\r\n" + b"x" * 255 + b"\r\n$256\r\n" + b"x" * 256 + b"\r\n"
    )


@pytest.mark.parametrize("value", [None, True, ["a"], object()])
def test_other_types_are_refused(value: Any) -> None:
    """None and bool have no one spelling in Redis; a caller says which one is meant."""
    with pytest.raises(TypeError, match="str, bytes, int or float"):
        pack(("SET", "k", value))


_INTERRUPTED = """
import random, signal
from scalekit._redis.wire import pack

def strike(*_):
    raise SystemExit

signal.signal(signal.SIGALRM, strike)
for _ in range(1000):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.random() * 1e-4 + 1e-6)
        while True:
            pack(("EVALSHA", "a" * 40, 1, "k" * 70, b"x", 10, 20))
    except SystemExit:
        pass
"""


def test_a_signal_handler_may_raise_at_any_moment() -> None:
    """As the one that ends a worker of gunicorn: the process does not crash, which it does in hiredis's."""
    subprocess.run([sys.executable, "-c", _INTERRUPTED], check=True, timeout=60)


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
        (("XREAD", "COUNT", 9, "BLOCK", 10, "STREAMS", "s", "$"), "s"),
        (("xread", "streams", b"s", "0"), b"s"),
        (("XREAD", "COUNT", 9), None),
    ],
)
def test_the_key_decides_the_node(args: tuple[Argument, ...], key: str | bytes | None) -> None:
    """The first argument, or a script's first key."""
    assert key_of(args) == key
