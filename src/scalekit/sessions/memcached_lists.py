"""Who has which sessions, in Memcached: an item a user, with the deadlines of their sessions.

What is past its deadline is forgotten when the list is written the next time. The item expires with the last
of its deadlines. A list may be dropped by Memcached like anything else, and then begins anew.
"""

import hashlib
import logging
from collections.abc import Callable

from scalekit._memcached import Attempt, Commands, Found, Outcome, settle
from scalekit._steps import Steps
from scalekit.errors import BackendUnavailable
from scalekit.sessions.memcached_items import NEVER, Listing, decode_listing, encode, seconds

_log = logging.getLogger("scalekit.sessions")


class Lists:
    """The lists of all users.

    Args:
        name: the link's, for messages.
        limit: bytes that an item can have.
        now: the moment, in milliseconds since 1970.
    """

    def __init__(
        self, commands: Commands, *, name: str, prefix: str, limit: int, now: Callable[[], int]
    ) -> None:
        self._commands, self._name, self._prefix, self._limit, self._now = commands, name, prefix, limit, now

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

    def _change(self, user: bytes, change: Callable[[dict[bytes, int]], object]) -> Steps[None]:
        key = self._key(user)
        return settle(self._commands, self._name, lambda: self._attempt(key, change))

    def _attempt(self, key: str, change: Callable[[dict[bytes, int]], object]) -> Steps[Outcome[None]]:
        listing, version = yield from self._read(key)
        deadlines = listing.deadlines
        before = dict(deadlines)
        change(deadlines)
        if deadlines == before:
            return None
        data = encode(listing)
        if len(data) > self._limit:
            reason = f"the list of one user's {len(deadlines)} sessions is larger than an item can be"
            raise BackendUnavailable(f"{self._name}: {reason}", backend=self._name)
        left = seconds(max(deadlines.values()), self._now()) if deadlines else NEVER
        if version is None:
            done = yield self._commands.add(key, data, seconds=left)
        else:
            done = yield self._commands.cas(key, data, version, seconds=left)
        return None if done else Attempt.FAILED

    def _read(self, key: str) -> Steps[tuple[Listing, int | None]]:
        """A list without what is past its deadline, and its version if there is one."""
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
