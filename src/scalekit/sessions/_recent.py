"""What a process remembers of the sessions that it has just seen: when that was, so that it need not ask
whether to extend them, and what they were, so that the store need not say it again.
"""

import time
from typing import NamedTuple

from scalekit.sessions.store import Loaded
from scalekit.sessions.values import size_of

_MOST = 10_000
_BYTES = 32 << 20
_SESSION, _FIELD = 512, 128  # bytes that Python needs, besides what is in them: rounded up, in 64-bit CPython


class Seen(NamedTuple):
    """A session, seen at ``moment`` by a clock of this process that nobody can set.

    ``size`` counts the fields that the store had, metadata too. What the session was may not be known.
    """

    moment: float
    session: Loaded | None = None
    size: int = 0


class Recent:
    """The sessions that were seen last: 10,000 at most, in 32 MiB of memory at most.

    Threads may share it. Where it is full it is emptied: what is asked for often is soon back.
    """

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._room = _BYTES

    def get(self, id: str, *, within: int) -> Seen | None:
        """What was seen of a session in the last ``within`` milliseconds."""
        seen = self._seen.get(id)
        return seen if seen is not None and (time.monotonic() - seen.moment) * 1000 < within else None

    def note(self, id: str, seen: Seen) -> None:
        size = 0 if seen.session is None else _weight(seen.session)
        if len(self._seen) >= _MOST or self._room < size:
            self._seen.clear()
            self._room = _BYTES
        self._room -= size
        self._seen[id] = seen

    def changed(self, id: str) -> None:
        """The session is another one now; when it was seen is still worth something."""
        seen = self._seen.get(id)
        if seen is not None:
            self._seen[id] = Seen(seen.moment)

    def forget(self, id: str) -> None:
        self._seen.pop(id, None)


def _weight(session: Loaded) -> int:
    """Bytes of memory. Of a session with many small values most are Python's own."""
    fields = session.fields
    return _SESSION + _FIELD * len(fields) + size_of(fields) + len(session.user or b"")
