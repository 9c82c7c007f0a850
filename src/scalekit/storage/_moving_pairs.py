"""Two storages side by side, key by key, in constant memory.

Both list their objects in the order of the keys, so one pass over both says of each key who has it. A listing
that is out of order would make objects look as if they were missing; it is an error, not a guess.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from scalekit.errors import StorageError
from scalekit.storage._contract import Storage
from scalekit.storage._values import Stored


@dataclass(frozen=True, slots=True)
class Pair:
    """One key, and the object that each storage has under it; ``None`` where there is none."""

    key: str
    source: Stored | None
    destination: Stored | None


async def pairs(source: Storage, destination: Storage, prefix: str) -> AsyncGenerator[Pair, None]:
    """Every key below ``prefix`` that one of the two has, in order.

    Raises:
        StorageError: a storage does not list its keys in their order.
    """
    async with (
        aclosing(_in_order(source, prefix)) as ours,
        aclosing(_in_order(destination, prefix)) as theirs,
    ):
        one, other = await anext(ours, None), await anext(theirs, None)
        while one is not None or other is not None:
            if other is None or (one is not None and one.key < other.key):
                assert one is not None
                yield Pair(one.key, one, None)
                one = await anext(ours, None)
            elif one is None or other.key < one.key:
                yield Pair(other.key, None, other)
                other = await anext(theirs, None)
            else:
                yield Pair(one.key, one, other)
                one, other = await anext(ours, None), await anext(theirs, None)


async def _in_order(storage: Storage, prefix: str) -> AsyncGenerator[Stored, None]:
    last = ""
    async with aclosing(storage.list(prefix)) as entries:
        async for stored in entries:
            if stored.key <= last:
                raise StorageError(
                    f"{type(storage).__name__} lists {stored.key!r} after {last!r}, not in order of keys; "
                    "what is missing cannot be told"
                )
            last = stored.key
            yield stored
