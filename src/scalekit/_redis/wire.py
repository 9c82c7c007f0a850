"""Commands as bytes, and which key decides where they go."""

import contextlib
from collections.abc import Callable
from typing import TypeAlias, cast

Argument: TypeAlias = str | bytes | int | float


def _pack(args: tuple[Argument, ...]) -> bytes:
    """A command in the Redis protocol: an array of bulk strings."""
    pieces = [b"*%d\r\n" % len(args)]
    for arg in args:
        if isinstance(arg, str):
            data = arg.encode()
        elif isinstance(arg, bytes):
            data = arg
        elif isinstance(arg, int | float) and not isinstance(arg, bool):
            data = repr(arg).encode()
        else:
            # As hiredis: a bool, None or any other object has no one spelling.
            raise TypeError("A tuple item must be str, int, float or bytes.")
        pieces.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(pieces)


pack: Callable[[tuple[Argument, ...]], bytes] = _pack
with contextlib.suppress(ImportError):  # optional: it is faster, nothing else
    import hiredis

    pack = cast(Callable[[tuple[Argument, ...]], bytes], hiredis.pack_command)


def key_of(args: tuple[Argument, ...]) -> str | bytes | None:
    """The key that routes a command in a Cluster: its first argument, or a script's first key."""
    name = args[0]
    if isinstance(name, bytes):
        name = name.decode("ascii", "replace")
    position = 1
    if isinstance(name, str) and name.upper() in (
        "EVAL",
        "EVALSHA",
        "EVAL_RO",
        "EVALSHA_RO",
        "FCALL",
        "FCALL_RO",
    ):
        if len(args) < 4 or int(args[2]) == 0:
            return None
        position = 3
    if len(args) <= position:
        return None
    key = args[position]
    return key if isinstance(key, str | bytes) else str(key)
