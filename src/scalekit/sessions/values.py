"""The values of one session: decoded when they are asked for, encoded when they are stored.

What is known of each key is the bytes that the store has (``fields``), the value that the application was
given or has set (``live``), and whether it was set or removed. From that follows the delta:

* a key that was set is written, also if the value is the same: who writes last wins;
* a mutable value that was handed out is encoded again and written if the bytes differ, so that a change deep
  inside is noticed without a flag;
* a key that nobody asked for costs nothing.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from scalekit.errors import SessionTooLarge, SessionValueError
from scalekit.sessions import codec

# Only something else can have written a name that is no UTF-8; it can be seen and deleted, but not set.
_ESCAPED = "surrogateescape"


class Delta(NamedTuple):
    """What a save has to write, by encoded key."""

    changed: dict[bytes, bytes]
    removed: set[bytes]

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)

    def applied(self, fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """``fields`` as they are after this delta."""
        return {name: data for name, data in {**fields, **self.changed}.items() if name not in self.removed}


class Values:
    """The data of a session, without any rule about when it may change."""

    __slots__ = ("_assigned", "_live", "_removed", "fields")

    def __init__(self, fields: dict[bytes, bytes] | None = None) -> None:
        self.fields: dict[bytes, bytes] = {} if fields is None else fields
        self._live: dict[str, Any] = {}
        self._assigned: dict[str, bytes] = {}
        self._removed: set[bytes] = set()

    def get(self, key: str) -> Any:
        """The value of ``key``; raises ``KeyError``."""
        try:
            return self._live[key]
        except KeyError:
            pass
        name = _find(key)
        if name is None or name not in self.fields or name in self._removed:
            raise KeyError(key)
        value = self._live[key] = codec.decode(key, self.fields[name])
        return value

    def put(self, key: str, value: Any) -> None:
        """Set ``key``; the value is encoded when it is stored, so it may still change."""
        name = name_of(key)
        self._live[key] = value
        self._assigned[key] = name
        self._removed.discard(name)

    def drop(self, key: str) -> None:
        """Remove ``key``; raises ``KeyError``."""
        name = _find(key)
        if name is None or key not in self:
            raise KeyError(key)
        self._live.pop(key, None)
        self._assigned.pop(key, None)
        if name in self.fields:
            self._removed.add(name)

    def __contains__(self, key: object) -> bool:
        if key in self._live:
            return True
        name = _find(key)
        return name is not None and name in self.fields and name not in self._removed

    def __iter__(self) -> Iterator[str]:
        for name in self.fields:
            if name not in self._removed:
                yield name.decode(errors=_ESCAPED)
        for key, name in self._assigned.items():
            if name not in self.fields:
                yield key

    def __len__(self) -> int:
        new = sum(name not in self.fields for name in self._assigned.values())
        return len(self.fields) - len(self._removed) + new

    def delta(self) -> Delta:
        """What differs from the store.

        Raises:
            SessionValueError: a value that cannot be stored.
        """
        changed = {name: codec.encode(key, self._live[key]) for key, name in self._assigned.items()}
        for key, value in self._live.items():
            if type(value) not in codec.IMMUTABLE and key not in self._assigned:
                name, data = key.encode(errors=_ESCAPED), codec.encode(key, value)
                if data != self.fields[name]:
                    changed[name] = data
        return Delta(changed, set(self._removed))

    def settle(self, delta: Delta) -> None:
        """The store has ``delta`` now; what was handed out stays under watch."""
        self.fields = delta.applied(self.fields)
        self._assigned.clear()
        self._removed.clear()

    def adopt(self, delta: Delta) -> None:
        """Take over what others have changed; the application gets it when it asks again."""
        self.fields = delta.applied(self.fields)
        for name in delta.changed.keys() | delta.removed:
            self._live.pop(name.decode(errors=_ESCAPED), None)


def check_size(fields: dict[bytes, bytes], delta: Delta, limit: int) -> None:
    """Raise :class:`SessionTooLarge` if ``delta`` brings a session of ``fields`` over ``limit`` bytes.

    The message names the largest of the keys that are about to be written.
    """
    if not delta.changed:
        return
    after = delta.applied(fields)
    size = sum(map(len, after)) + sum(map(len, after.values()))
    if size > limit:
        largest = max(delta.changed, key=lambda name: len(delta.changed[name]))
        raise SessionTooLarge(key=largest.decode(errors=_ESCAPED), size=size, limit=limit)


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


def _find(key: object) -> bytes | None:
    """The name of a field to look for; ``None`` if no session can have it."""
    try:
        return key.encode(errors=_ESCAPED) if isinstance(key, str) else None
    except UnicodeEncodeError:
        return None
