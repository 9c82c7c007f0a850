"""What sessions are in Memcached: three kinds of items, as MessagePack arrays that begin with their kind.

Pure: no I/O, no clock. Moments are milliseconds since 1970.
"""

from typing import TypeAlias

import msgspec

from scalekit.sessions.store import Loaded, Rotation

_DAY = 24 * 60 * 60
_RELATIVE = 30 * _DAY  # beyond, Memcached takes a number for a moment since 1970
_LAST = (1 << 31) - 1  # seconds since 1970, in January 2038: it reads a moment as 32 bits with a sign
_FOR_EVER = 0  # kept until room is needed
NEVER = -1  # what is stored for so long is gone at once


class Rotated(msgspec.Struct, array_like=True):
    """A :class:`Rotation`; ``at`` is the moment since which it is as it is."""

    heard: bool
    at: int
    token: bytes = b""

    def told(self, now: int) -> Rotation:
        return Rotation(self.heard, max(0, now - self.at), self.token)


class Stored(msgspec.Struct, array_like=True, tag="session"):
    """A session. ``expires`` is when it was idle for too long, or its deadline; ``version`` counts saves."""

    created: int
    deadline: int
    seen: int
    expires: int
    user: bytes | None
    device: bytes | None
    fields: dict[bytes, bytes]
    origin: str
    version: int = 0
    rotated: Rotated | None = None

    def extend(self, now: int, idle: int) -> None:
        self.seen = max(self.seen, now)  # another machine's clock may be ahead
        self.expires = min(now + idle, self.deadline)

    def loaded(self, now: int) -> Loaded:
        return Loaded(
            fields=self.fields,
            created=self.created,
            deadline=self.deadline,
            seen=self.seen,
            version=self.version,
            origin=self.origin,
            user=self.user,
            device=self.device,
            rotation=None if self.rotated is None else self.rotated.told(now),
        )


class Mark(msgspec.Struct, array_like=True, tag="ended"):
    """What a destroyed session leaves until ``expires``."""

    expires: int
    successor: str | None
    alias: bool
    rotated: Rotated | None = None

    def loaded(self, now: int) -> Loaded:
        rotation = None if self.rotated is None else self.rotated.told(now)
        return Loaded(ended=True, successor=self.successor, alias=self.alias, rotation=rotation)


class Listing(msgspec.Struct, array_like=True, tag="listing"):
    """The sessions of a user: deadlines by id, as 32 bytes."""

    deadlines: dict[bytes, int]


Item: TypeAlias = Stored | Mark
_items = msgspec.msgpack.Decoder(Stored | Mark)
_listings = msgspec.msgpack.Decoder(Listing)
encode = msgspec.msgpack.Encoder().encode


def decode_item(data: bytes) -> Item | None:
    """What is stored under a session's key; ``None`` if it is no session."""
    try:
        item: Item = _items.decode(data)
    except msgspec.DecodeError:
        return None
    return item


def decode_listing(data: bytes) -> Listing | None:
    """What is stored under a user's key; ``None`` if it is no list."""
    try:
        return _listings.decode(data)
    except msgspec.DecodeError:
        return None


def seconds(until: int, now: int) -> int:
    """How to tell Memcached to keep something until then, and never less.

    Its clock ticks once a second, so the second that has begun may be over soon. A moment is by that clock,
    which may be as wrong as a day: what we store says when it ends. A moment that Memcached cannot take would
    be in the past for it, so there it gets none.
    """
    left = -((now - until) // 1000) + 1  # rounded up
    if left <= _RELATIVE:
        return left
    moment = until // 1000 + _DAY
    return moment if moment <= _LAST else _FOR_EVER
