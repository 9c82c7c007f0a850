"""All sessions of one user: list them, end one, end all but this one.

Rules:

* Who is logged in is listed, and who is listed can be logged out: the store lists a session in the operation
  that begins it, before the visitor has its cookie (in a Cluster: right after, and still before the cookie).
* Ending sessions begins with the list and ends each on it, with whatever it has gone on as. One that begins
  meanwhile is not on that list; it is on the next one.
* A list has no dead: each of its sessions is asked for, and the dead are taken off. What cannot be decrypted
  is left out, and ended all the same.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from scalekit._options import check_kind, in_colour
from scalekit._steps import Steps, run, run_async
from scalekit.errors import BackendError, DecryptionFailed, SessionValueError
from scalekit.sessions._core import STORE
from scalekit.sessions._following import NEVER
from scalekit.sessions._identity import GRACE, MOVES
from scalekit.sessions.events import Events, tell
from scalekit.sessions.owner import device_name, encode_user
from scalekit.sessions.store import BoundStore, Loaded, Store
from scalekit.types import Colour

_ID = re.compile(r"[0-9a-f]{64}")


class Asking(Protocol):
    """The session of the request that asks: ``request.session``, of Django too."""

    @property
    def _id(self) -> str: ...

    _stored: Loaded

    def _ready(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class SessionInfo:
    """One session of a user, to be shown to that user.

    Attributes:
        id: names it, also to :meth:`UserSessions.revoke`. It is no token: nobody can log in with it.
        device: as given to ``login()``; by default the ``User-Agent`` of the log-in.
        created: when the user logged in, in UTC.
        last_seen: when it was used last, in UTC; up to five minutes late.
        expires: when it ends at the latest, in UTC.
        current: whether it is the session that asks.
    """

    id: str
    device: str | None
    created: datetime
    last_seen: datetime
    expires: datetime
    current: bool


class _Users:
    """What both colours share."""

    def __init__(self, store: Store, colour: Colour, taker: str, events: Events) -> None:
        check_kind(store, Store, option="store", wanted=STORE)
        check_kind(events, Events, option="events=", wanted="Events(...)")
        self._store: BoundStore = in_colour(store, colour, taker=taker)
        self._events = events

    def _list(self, user_id: str | int | UUID, current: Asking | None) -> Steps[list[SessionInfo]]:
        user, infos = _encoded(user_id), dict[str, SessionInfo]()  # one that is being rotated is one
        for listed in (yield self._store.listed(user)):
            try:
                id, loaded = yield from self._find(listed)  # it may have been rotated since the list was made
            except DecryptionFailed:
                continue  # nobody can use it, either
            if loaded is None or loaded.ended:
                yield self._store.destroy(listed, grace=0, user=user)
            elif loaded.user == user:
                # Of a server that was killed in the middle of a rotation there are two; one is of no use.
                info = _info(id, loaded, current)
                infos[loaded.origin] = max(info, infos.get(loaded.origin, info), key=_used)
        return sorted(infos.values(), key=lambda info: info.last_seen, reverse=True)

    def _revoke(self, user_id: str | int | UUID, id: str) -> Steps[bool]:
        user = _encoded(user_id)
        if not isinstance(id, str) or not _ID.fullmatch(id):
            return False
        return (yield from self._end(id, user))

    def _revoke_all(self, user_id: str | int | UUID, but: Asking | None) -> Steps[int]:
        user, kept, ended = _encoded(user_id), set[str](), 0
        if but is not None:
            but._ready()
            _, loaded = yield from self._find(but._id)  # it may have logged in again
            kept = {session.origin for session in (but._stored, loaded) if session is not None}
        failure: BackendError | None = None
        for id in (yield self._store.listed(user)):
            try:
                ended += yield from self._end(id, user, kept)
            except BackendError as error:
                failure = error  # none of the others may stay logged in because of one
        if failure is not None:
            raise failure
        return ended

    def _find(self, id: str) -> Steps[tuple[str, Loaded | None]]:
        """What a session has gone on as."""
        loaded: Loaded | None = None
        for _ in range(MOVES):
            # To look at a session is not to use it: it is not extended. One that has lost its expiry, as a
            # restored backup may have, ends at its deadline.
            loaded = yield self._store.load(id, idle=NEVER, step=NEVER)
            if loaded is None or loaded.successor is None:
                break
            id = loaded.successor
        return id, loaded

    def _end(self, id: str, user: bytes, kept: Collection[str] = ()) -> Steps[bool]:
        """End a session, and what it goes on as meanwhile, as long as it is the user's."""
        for _ in range(MOVES):
            try:
                id, loaded = yield from self._find(id)
            except DecryptionFailed:
                return (yield from self._end_unread(id, user))
            if loaded is None or loaded.ended or loaded.user != user or loaded.origin in kept:
                return False
            last: Loaded | None = yield self._store.destroy(id, grace=GRACE, user=user)
            if last is not None and not last.ended:
                tell(self._events.revoked, id, last)
                return True
        return False

    def _end_unread(self, id: str, user: bytes) -> Steps[bool]:
        """End a session that cannot be decrypted. Whose it is, only the lists can tell then."""
        if id not in (yield self._store.listed(user)):
            return False
        last: Loaded | None = yield self._store.destroy(id, grace=GRACE, user=user)
        if last is None or last.ended:
            return False
        tell(self._events.revoked, id, replace(last, user=user))
        return True


class UserSessions(_Users):
    """The sessions of any user of a synchronous application.

    Args:
        store: the one that the application's sessions are in.
        events: ``Events(revoked=...)`` is told of each session that is ended here.

    Raises:
        ConfigurationError: this is no store, or its client is asynchronous.
    """

    def __init__(self, store: Store, *, events: Events = Events()) -> None:
        super().__init__(store, "sync", "UserSessions", events)

    def list(self, user_id: str | int | UUID, *, current: Asking | None = None) -> list[SessionInfo]:
        """The sessions that live, the last seen first.

        One round trip for the list, and one a session.

        Args:
            user_id: as given to ``login()``.
            current: marks the session that asks.

        Raises:
            SessionValueError: ``user_id`` is no str, int or UUID; ``None`` is nobody's.
            BackendError: the store failed.
        """
        return run(self._list(user_id, current))

    def revoke(self, user_id: str | int | UUID, id: str) -> bool:
        """End one session. ``False`` if the user has none of that id (any more)."""
        return run(self._revoke(user_id, id))

    def revoke_all(self, user_id: str | int | UUID, *, but: Asking | None = None) -> int:
        """End every session, except ``but``, which is usually the one that asks; how many there were.

        If the store fails on the way, those that are left are still listed: call it again.
        """
        return run(self._revoke_all(user_id, but))


class AsyncUserSessions(_Users):
    """The sessions of any user of an asynchronous application; see :class:`UserSessions`."""

    def __init__(self, store: Store, *, events: Events = Events()) -> None:
        super().__init__(store, "async", "AsyncUserSessions", events)

    async def list(self, user_id: str | int | UUID, *, current: Asking | None = None) -> list[SessionInfo]:
        """See :meth:`UserSessions.list`."""
        return await run_async(self._list(user_id, current))

    async def revoke(self, user_id: str | int | UUID, id: str) -> bool:
        """See :meth:`UserSessions.revoke`."""
        return await run_async(self._revoke(user_id, id))

    async def revoke_all(self, user_id: str | int | UUID, *, but: Asking | None = None) -> int:
        """See :meth:`UserSessions.revoke_all`."""
        return await run_async(self._revoke_all(user_id, but))


def _encoded(user_id: str | int | UUID | None) -> bytes:
    if user_id is None:  # session.user_id of a stranger
        raise SessionValueError(key="user_id", reason="it is None: nobody is logged in", action="looked up")
    return encode_user(user_id)


def _info(id: str, loaded: Loaded, current: Asking | None) -> SessionInfo:
    return SessionInfo(
        id=id,
        device=device_name(loaded.device),
        created=_moment(loaded.created),
        last_seen=_moment(loaded.seen),
        expires=_moment(loaded.deadline),
        current=current is not None and current._id == id,
    )


def _used(info: SessionInfo) -> tuple[bool, datetime]:
    return info.current, info.last_seen


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
