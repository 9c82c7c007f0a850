"""Which values stand under a name: an index that costs little, and least where there is one value a name."""

from collections.abc import Collection
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Postings(Generic[K, V]):
    """Names, and for each the values that were added under it. A value is no dict.

    A lone value stands there by itself. More of them are the keys of a dict, which takes a third of a set.
    """

    def __init__(self) -> None:
        self._values: dict[K, V | dict[V, None]] = {}

    def add(self, name: K, value: V) -> None:
        there = self._values.setdefault(name, value)
        if isinstance(there, dict):
            there[value] = None
        elif there is not value:
            self._values[name] = {there: None, value: None}

    def discard(self, name: K, value: V) -> None:
        there = self._values.get(name)
        if there is value:
            del self._values[name]
        elif isinstance(there, dict):
            there.pop(value, None)
            if not there:
                del self._values[name]

    def take(self, name: K) -> Collection[V]:
        """Remove ``name``, and return what stood under it."""
        there = self._values.pop(name, None)
        if there is None:
            return ()
        return there if isinstance(there, dict) else (there,)

    def __len__(self) -> int:
        return len(self._values)
