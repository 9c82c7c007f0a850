"""What the scripts reply, as what the store gives out; of anything else nothing is made. Pure."""

import re
from typing import Any

from scalekit.sessions.store import Created, Loaded, Rotation, Swapped

_META = b"\0"  # what the names of metadata begin with
_DATA = b"\1"  # what is below it is metadata, or the empty name
_CREATED, _DEADLINE, _SEEN, _VERSION = b"\0created", b"\0deadline", b"\0seen", b"\0version"
_USER, _DEVICE, _ORIGIN = b"\0user", b"\0device", b"\0origin"
_ROTATED, _ENDED, _ALIAS = b"\0rotated", b"\0ended", b"\0alias"
_SINCE, AGE = b"\0since", b"\0age"  # which are not stored


_ID = re.compile(rb"[0-9a-f]{64}")


def valid(ids: Any) -> list[str]:
    return [id.decode() for id in ids if _ID.fullmatch(id)]


def swapped(reply: Any) -> Swapped:
    done, *found = reply
    if not all(isinstance(value, bytes | None) for value in found):
        raise TypeError
    return Swapped(flag(done), *found)


def flag(reply: Any) -> bool:
    if not isinstance(reply, int):
        raise TypeError
    return bool(reply)


def created(reply: Any) -> Created:
    return Created(*map(int, reply))


def _fields(reply: Any) -> dict[bytes, bytes] | None:
    """What HGETALL gave, as a dict; ``None`` if that is no reply to it."""
    if not isinstance(reply, list) or len(reply) % 2 or not _BYTES.issuperset(map(type, reply)):
        return None
    pairs = iter(reply)
    return dict(zip(pairs, pairs, strict=True))


_BYTES = frozenset([bytes])


def session(reply: Any, id: str) -> Loaded | None:
    """What HGETALL gave, as a session; ``None`` if it is none."""
    fields = _fields(reply)
    if fields is None:
        return None
    created, deadline = _moment(fields.pop(_CREATED, None)), _moment(fields.pop(_DEADLINE, None))
    if created is None or deadline is None:
        return None
    seen, version = _moment(fields.pop(_SEEN, None)), _moment(fields.pop(_VERSION, None))
    user, device, origin = fields.pop(_USER, None), fields.pop(_DEVICE, None), fields.pop(_ORIGIN, None)
    rotation = None
    if fields and min(fields) < _DATA:
        rotation = _rotation(fields.get(_ROTATED), fields.get(_SINCE))
        # A later version may have put something there that is not known here.
        fields = {name: value for name, value in fields.items() if name[:1] != _META}
    return Loaded(
        fields,
        created,
        deadline,
        created if seen is None else seen,
        version or 0,
        user,
        device,
        origin=id if origin is None else origin.decode("ascii", "replace"),
        rotation=rotation,
    )


def mark(reply: Any) -> Loaded | None:
    """What HGETALL gave, as the mark of a session that has ended; ``None`` if it is none."""
    fields = _fields(reply)
    if fields is None or _ENDED not in fields:
        return None
    successor = fields[_ENDED].decode("ascii", "replace") or None
    alias = fields.get(_ALIAS)
    rotation = _rotation(alias, fields.get(_SINCE))
    return Loaded(ended=True, successor=successor, alias=alias is not None, rotation=rotation)


def _rotation(text: bytes | None, since: bytes | None) -> Rotation | None:
    """What the browser has shown, as the scripts have it; ``None`` if they do not say."""
    age = _moment(since)
    if text is None or age is None:
        return None
    heard, _, rest = text.partition(b":")
    return Rotation(heard == b"1", age, rest.partition(b":")[2])


def _moment(text: bytes | None) -> int | None:
    """A time as we write it; ``None`` for anything else."""
    return int(text) if text is not None and len(text) <= 18 and text.isdigit() else None
