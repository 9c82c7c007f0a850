"""The values of one session: decoded when they are asked for, encoded when they are stored.

What is known of each key is the bytes that the store has (``fields``), the value that the application was
given or has set (``live``), and when it was last set or removed (``touched``). From that follows the delta:

* a key that was set is written, also if the value is the same: who writes last wins;
* a mutable value that was handed out is encoded again and written if the bytes differ, so that a change deep
  inside is noticed without a flag;
* a default that was handed out (an offer) is no value of the session until it differs from what it was;
* a key that nobody asked for costs nothing;
* what is set or removed while a delta is on its way to the store belongs to the next one.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from scalekit.errors import SessionTooLarge, SessionValueError
from scalekit.sessions.codec import PLAIN, Codec
from scalekit.sessions.offers import Offers

# Only something else can have written a name that is no UTF-8; it can be seen and deleted, but not set.
_ESCAPED = "surrogateescape"


class _Missing(Enum):
    MISSING = "no value"


MISSING: Final = _Missing.MISSING
"""In place of a value that is not there."""


class Delta(NamedTuple):
    """What a save has to write, by encoded key, as it was at one moment of the values."""

    changed: dict[bytes, bytes]
    removed: set[bytes]
    moment: int = 0

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)

    def applied(self, fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """``fields`` as they are after this delta."""
        after = {**fields, **self.changed}
        for name in self.removed:
            after.pop(name, None)
        return after


class Values:
    """The data of a session, without any rule about when it may change."""

    __slots__ = ("_codec", "_live", "_moment", "_mutable", "_offers", "_touched", "fields")

    def __init__(self, fields: Mapping[bytes, bytes] | None = None, codec: Codec = PLAIN) -> None:
        self.fields: Mapping[bytes, bytes] = {} if fields is None else fields  # others may hold it, too
        self._codec = codec
        self._live: dict[str, Any] = {}
        self._offers: Offers | None = None
        # The moment of the last touch by key; one that is not live was removed.
        self._touched: dict[str, int] = {}
        self._moment = 0
        self._mutable = False  # whether something may change in place

    @property
    def unchanged(self) -> bool:
        """Whether nothing can differ from the store; ``False`` says nothing."""
        return not (self._touched or self._mutable or self._offers)

    def get(self, key: str) -> Any:
        """The value of ``key``; raises ``KeyError``."""
        try:
            return self._live[key]
        except KeyError:
            pass
        name = _find(key)
        if name is None or name not in self.fields or key in self._touched:
            if self._accept() and key in self._live:
                return self._live[key]
            raise KeyError(key)
        value = self._live[key] = self._codec.decode(key, self.fields[name])
        self._mutable |= type(value) not in self._codec.immutable
        return value

    def offer(self, key: str, make: Callable[[], Any]) -> Any:
        """The value of ``key``. One that is not there is made: it is set once it has been changed in place,
        and until then it is handed out again.
        """
        if key in self:
            return self.get(key)
        name_of(key)
        if self._offers is None:
            self._offers = Offers(self._codec)
        return self._offers.get(key, make)

    def put(self, key: str, value: Any) -> None:
        """Set ``key``; the value is encoded when it is stored, so it may still change."""
        name_of(key)  # an error belongs to the line that has the mistake
        if self._offers is not None:
            self._offers.drop(key)
        self._live[key] = value
        self._mutable |= type(value) not in self._codec.immutable
        self._touch(key)

    def drop(self, key: str) -> None:
        """Remove ``key``; raises ``KeyError``."""
        there = key in self
        if self._offers is not None:
            self._offers.drop(key)
        if not there:
            raise KeyError(key)
        self._live.pop(key, None)
        self._touch(key)

    def clear(self) -> None:
        """Remove every key."""
        for key in list(self):
            self._touch(key)
        self._live.clear()
        self._offers = None

    def stored(self, key: str) -> tuple[bytes | None, Any]:
        """What the store had of ``key`` when last seen: its bytes, and a value of them that is nobody's."""
        data = self.fields.get(_name(key))
        return data, MISSING if data is None else self._codec.decode(key, data)

    def encode(self, key: str, value: Any) -> bytes:
        """``value`` as the store would have it."""
        return self._codec.encode(key, value)

    def differs(self, key: str) -> bool:
        """Whether ``key`` has been set, removed or changed inside since the store was last seen."""
        self._accept()
        return key in self._touched or (key in self._live and self._changed(key, self._live[key]) is not None)

    def learn(self, key: str, data: bytes | None) -> None:
        """The store has these bytes now; the application gets them when it asks again.

        A list that was handed out gets them at once. What this request has changed meanwhile stays changed.
        """
        ours = self.differs(key)
        name = _name(key)
        self.fields = Delta({}, {name}).applied(self.fields) if data is None else {**self.fields, name: data}
        if ours:
            return
        live = self._live.pop(key, None)
        value = None if data is None or type(live) is not list else self._codec.decode(key, data)
        if type(live) is list and type(value) is list:
            live[:] = value
            self._live[key] = live
        if self._offers is not None:
            self._offers.drop(key)

    def __contains__(self, key: object) -> bool:
        self._accept()
        if key in self._live:
            return True
        name = _find(key)
        return name is not None and name in self.fields and key not in self._touched

    def __iter__(self) -> Iterator[str]:
        self._accept()
        for name in self.fields:
            key = _key(name)
            if key in self._live or key not in self._touched:
                yield key
        for key in self._touched:
            if key in self._live and _name(key) not in self.fields:
                yield key

    def __len__(self) -> int:
        self._accept()
        there = (((key in self._live) - (_name(key) in self.fields)) for key in self._touched)
        return len(self.fields) + sum(there)

    def delta(self) -> Delta:
        """What differs from the store.

        Raises:
            SessionValueError: a value that cannot be stored.
        """
        self._accept()
        codec, touched = self._codec, self._touched
        changed: dict[bytes, bytes] = {}
        for key, value in self._live.items():
            if key in touched:
                changed[_name(key)] = codec.encode(key, value)
            elif type(value) not in codec.immutable and (data := self._changed(key, value)) is not None:
                changed[_name(key)] = data
        gone = {_name(key) for key in self._touched if key not in self._live}
        return Delta(changed, gone & self.fields.keys(), self._moment)

    def settle(self, delta: Delta) -> None:
        """The store has ``delta`` now; what was handed out stays under watch."""
        self.fields = delta.applied(self.fields)
        self._touched = {key: moment for key, moment in self._touched.items() if moment > delta.moment}

    def adopt(self, delta: Delta) -> None:
        """Take over what others have changed; the application gets it when it asks again."""
        self._accept()
        self.fields = delta.applied(self.fields)
        for key in [_key(name) for name in delta.changed.keys() | delta.removed]:
            if key not in self._touched:
                self._live.pop(key, None)
                if self._offers is not None:
                    self._offers.drop(key)

    def _accept(self) -> bool:
        """Take the defaults that were changed for values that were set; whether there are any."""
        if self._offers is None:
            return False
        changed = self._offers.take()
        for key, value in changed.items():
            self.put(key, value)
        return bool(changed)

    def _changed(self, key: str, value: Any) -> bytes | None:
        """The bytes of a value that was handed out, if it has changed since."""
        codec, stored = self._codec, self.fields[_name(key)]
        if codec.plain:
            data = codec.encode(key, value)
            return None if data == stored else data
        if codec.constant(value):
            return None
        data = codec.encode(key, value)
        return None if codec.same(key, data, stored) else data

    def _touch(self, key: str) -> None:
        self._moment += 1
        self._touched[key] = self._moment


def difference(before: Mapping[bytes, bytes], after: Mapping[bytes, bytes]) -> Delta:
    """What makes ``after`` of ``before``."""
    changed = {name: data for name, data in after.items() if before.get(name) != data}
    return Delta(changed, before.keys() - after.keys())


def late(ours: Delta, before: Mapping[bytes, bytes], last: Mapping[bytes, bytes]) -> Delta:
    """What others have made of ``before`` meanwhile; where both wrote, ours stays."""
    theirs, mine = difference(before, last), ours.changed.keys() | ours.removed
    changed = {name: data for name, data in theirs.changed.items() if name not in mine}
    return Delta(changed, theirs.removed - mine)


def check_size(fields: Mapping[bytes, bytes], delta: Delta, limit: int) -> None:
    """Raise :class:`SessionTooLarge` if ``delta`` makes a session of ``fields`` larger, over ``limit`` bytes.

    Smaller it may always become: several requests together can have brought it over the limit. The message
    names the largest of the keys that are about to be written.
    """
    if not delta.changed:
        return
    after = delta.applied(fields)
    size = size_of(after)
    if size > limit and size > size_of(fields):
        largest = max(delta.changed, key=lambda name: len(name) + len(delta.changed[name]))
        raise SessionTooLarge(key=_key(largest), size=size, limit=limit)


def size_of(fields: Mapping[bytes, bytes]) -> int:
    """Bytes of the names and values."""
    return sum(map(len, fields)) + sum(map(len, fields.values()))


def name_of(key: Any) -> bytes:
    """The name of a field for ``key``.

    Raises:
        SessionValueError: a key that no session can have.
    """
    if not isinstance(key, str):
        raise SessionValueError(key=f"{key!r:.60}", reason="keys of a session are strings")
    if key.startswith("\0"):
        raise SessionValueError(key=key, reason="a key cannot begin with a NUL")
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise SessionValueError(key=key, reason="the key has a lone surrogate") from None


def _key(name: bytes) -> str:
    return name.decode(errors=_ESCAPED)


def _name(key: str) -> bytes:
    return key.encode(errors=_ESCAPED)


def _find(key: object) -> bytes | None:
    """The name of a field to look for; ``None`` if no session can have it."""
    try:
        return _name(key) if isinstance(key, str) else None
    except UnicodeEncodeError:
        return None
