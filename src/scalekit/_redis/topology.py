"""Which node of a Redis Cluster has which hash slot. Pure: told by others what the nodes say."""

import random
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from redis import exceptions
from redis.crc import key_slot

from scalekit._redis.wire import Argument, key_of

_SLOTS = range(16384)

Place: TypeAlias = tuple[str, int]
"""A node's host and port."""


def slot_of(key: str | bytes) -> int:
    return int(key_slot(key.encode() if isinstance(key, str) else key))


def name_of_node(cluster: str, place: Place) -> str:
    """What errors call the node of the Cluster of that name."""
    return f"{cluster} node {place[0]}:{place[1]}"


class Topology:
    """The owners of slots, as far as known.

    Args:
        seeds: places to ask when nothing is known, or nobody known answers.
    """

    def __init__(self, seeds: Sequence[Place]) -> None:
        self._seeds = tuple(seeds)
        self._owners: dict[int, Place] = {}
        self._primaries: frozenset[Place] = frozenset()
        self._replicas: set[Place] = set()

    @property
    def known(self) -> bool:
        return bool(self._owners)

    def owner(self, args: tuple[Argument, ...]) -> Place:
        """The node that a command goes to: its key's primary, or any primary if it has no key.

        Raises:
            redis.exceptions.ConnectionError: nobody is known to have the slot.
        """
        key = key_of(args)
        try:
            if key is None:
                return random.choice(list(self._owners.values()))  # noqa: S311  spreads load
            return self._owners[slot_of(key)]
        except (KeyError, IndexError):
            raise exceptions.ConnectionError("no node is known to have the key's hash slot") from None

    def elsewhere(self, keys: Iterable[str]) -> frozenset[Place]:
        """The primaries that have none of ``keys``; none of them if a key is nobody's."""
        owners = {self._owners.get(slot_of(key)) for key in keys}
        return frozenset() if None in owners else self._primaries - owners

    @property
    def primaries(self) -> frozenset[Place]:
        """The nodes that have slots."""
        return self._primaries

    def places(self) -> set[Place]:
        """Every node that is known."""
        return {*self._primaries, *self._replicas}

    def to_ask(self) -> list[Place]:
        """Every node that could tell the topology, in a random order."""
        asked = [*{*self.places(), *self._seeds}]
        random.shuffle(asked)
        return asked

    def move(self, slot: int, place: Place) -> None:
        """A node has said that ``place`` has ``slot`` now."""
        self._owners[slot] = place
        self._primaries |= {place}

    def read(self, reply: Any, asked: Place, source: Any) -> None:
        """Take over the reply to CLUSTER SLOTS of the node at ``asked``.

        Raises:
            redis.exceptions.ConnectionError: it knows of no slots.
            redis.exceptions.InvalidResponse: this is no reply to CLUSTER SLOTS.
        """
        owners: dict[int, Place] = {}
        replicas: set[Place] = set()
        try:
            for first, last, primary, *others in reply:
                place = _place(primary, asked, source)
                owners.update(dict.fromkeys(_SLOTS[first : last + 1], place))
                replicas.update(_place(other, asked, source) for other in others)
        except (TypeError, ValueError, LookupError) as error:
            raise exceptions.InvalidResponse("the node does not tell its slots") from error
        if not owners:
            raise exceptions.ConnectionError("the node knows of no slots")
        self._owners, self._replicas = owners, replicas
        self._primaries = frozenset(owners.values())


def _place(node: Any, asked: Place, source: Any) -> Place:
    host = node[0].decode() if isinstance(node[0], bytes) else node[0]
    # A node that does not know its own address says nothing: it is where it was asked.
    place: Place = source.remap((host or asked[0], int(node[1])))
    return place
