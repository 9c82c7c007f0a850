"""Who has which sessions, in Memcached: an item a user, with the deadlines of their sessions.

What is past its deadline is forgotten when the list is written the next time. The item expires with the last
of its deadlines. A list may be dropped by Memcached like anything else, and then begins anew.

Those of one process who change one list at the same time help each other: whoever writes, writes the changes
of all, and the others find theirs done. Many log-ins of one user are few writes, and only processes compete.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable
from typing import TypeAlias
from weakref import WeakValueDictionary

from scalekit._memcached import Attempt, Commands, Found, Outcome, settle
from scalekit._steps import Steps
from scalekit.errors import BackendUnavailable
from scalekit.sessions.memcached_items import NEVER, Listing, decode_listing, encode, seconds

_log = logging.getLogger("scalekit.sessions")

_Edit: TypeAlias = Callable[[dict[bytes, int]], object]


class _Change:
    """What somebody wants of a list, and whether it is done."""

    def __init__(self, edit: _Edit) -> None:
        self.edit, self.done = edit, False


class _Batch:
    """The changes of one list that are under way in this process, in order; it lasts as long as they do."""

    def __init__(self) -> None:
        self.open: dict[_Change, None] = {}


class Lists:
    """The lists of all users.

    Args:
        name: the link's, for messages.
        limit: bytes that an item can have.
        now: the moment, in milliseconds since 1970.
        trip: called before each round trip.
    """

    def __init__(
        self,
        commands: Commands,
        *,
        name: str,
        prefix: str,
        limit: int,
        now: Callable[[], int],
        trip: Callable[[], None],
    ) -> None:
        self._trip = trip
        self._commands, self._name, self._prefix, self._limit, self._now = commands, name, prefix, limit, now
        self._batches = WeakValueDictionary[str, _Batch]()

    def of(self, user: bytes) -> Steps[list[str]]:
        """The ids of the sessions of ``user``."""
        listing, _ = yield from self._read(self._key(user))
        return [id.hex() for id in listing.deadlines]

    def add(self, user: bytes, id: str, deadline: int) -> Steps[None]:
        """List a session; to list it twice costs no write."""
        return self._change(user, lambda deadlines: deadlines.update({bytes.fromhex(id): deadline}))

    def strike(self, user: bytes, id: str) -> Steps[None]:
        """Take a session off the list."""
        return self._change(user, lambda deadlines: deadlines.pop(bytes.fromhex(id), None))

    def _change(self, user: bytes, edit: _Edit) -> Steps[None]:
        key, mine = self._key(user), _Change(edit)
        # That a change gets into no batch, or into one of its own, costs a write and nothing else.
        batch = self._batches.setdefault(key, _Batch())
        batch.open[mine] = None
        try:
            yield from settle(self._commands, self._name, lambda: self._attempt(key, mine, batch))
        finally:
            del batch.open[mine]

    def _attempt(self, key: str, mine: _Change, batch: _Batch) -> Steps[Outcome[None]]:
        if mine.done:
            return None
        listing, version = yield from self._read(key)
        # Now, after the read, which has those that are closed. One that is open may be done twice: at worst a
        # session that has ended meanwhile is listed again, as one may be.
        changes = [mine, *(change for change in list(batch.open) if change is not mine)]
        deadlines = _edited(listing.deadlines, changes)
        while len(changes) > 1 and len(encode(Listing(deadlines))) > self._limit:
            changes = changes[: len(changes) // 2]  # ours is refused only if there is no room for it alone
            deadlines = _edited(listing.deadlines, changes)
        done = deadlines == listing.deadlines or (yield from self._write(key, deadlines, version))
        for change in changes if done else ():
            change.done = True
        return None if mine.done else Attempt.FAILED

    def _write(self, key: str, deadlines: dict[bytes, int], version: int | None) -> Steps[bool]:
        """Store a list in place of that version; ``False`` if another one is there by now."""
        data = encode(Listing(deadlines))
        if len(data) > self._limit:
            reason = f"the list of one user's {len(deadlines)} sessions is larger than an item can be"
            raise BackendUnavailable(f"{self._name}: {reason}", backend=self._name)
        left = seconds(max(deadlines.values()), self._now()) if deadlines else NEVER
        self._trip()
        if version is None:
            return bool((yield self._commands.add(key, data, seconds=left)))
        return bool((yield self._commands.cas(key, data, version, seconds=left)))

    def _read(self, key: str) -> Steps[tuple[Listing, int | None]]:
        """A list without what is past its deadline, and its version if there is one."""
        self._trip()
        found: Found | None = yield self._commands.gets(key)
        if found is None:
            return Listing({}), None
        listing = decode_listing(found.value)
        if listing is None:
            _log.warning("the list of a user's sessions cannot be read; it begins anew")
            return Listing({}), found.version
        now = self._now()
        return Listing({id: end for id, end in listing.deadlines.items() if end > now}), found.version

    def _key(self, user: bytes) -> str:
        # A hash: a name of any length and content makes a key of one length, that tells nobody's name.
        return f"{self._prefix}user:{hashlib.sha256(user).hexdigest()}"


def _edited(deadlines: dict[bytes, int], changes: Iterable[_Change]) -> dict[bytes, int]:
    edited = dict(deadlines)
    for change in changes:
        change.edit(edited)
    return edited
