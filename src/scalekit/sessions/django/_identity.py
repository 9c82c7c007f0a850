"""How a session of Django begins, goes on under another key, and ends. Rules:

* A move creates the new session first and ends the old one then, as everywhere (see
  :mod:`scalekit.sessions._identity`). It carries over what another request saved meanwhile.
* If the old one has ended by then, its log-in does not live on: Django's ``UpdateError`` is raised, and the
  new one is taken back. Who has just logged in goes on, having proved who it is, and so does who is nobody if
  another request has moved the session (a double click).
* What one user has done is nothing to the next. Only a log-in begins another lifetime.
* An end that the store did not confirm is tried again with the next save.
* Whoever ends a session ends what it went on as.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from django.contrib.sessions.backends.base import CreateError, UpdateError  # type: ignore[import-untyped]

from scalekit._steps import Steps
from scalekit.sessions._core import MAX_SIZE
from scalekit.sessions._identity import GRACE, end
from scalekit.sessions.owner import MAX_DEVICE
from scalekit.sessions.store import BoundStore, Created, Inherited, Loaded
from scalekit.sessions.values import Delta, check_size, difference, late

if TYPE_CHECKING:
    from scalekit.sessions.django.engine import SessionStore


class Left(NamedTuple):
    """A session under the key that it had before, until the store has confirmed that it has ended."""

    key: str
    id: str
    stored: Loaded


def create(
    session: "SessionStore", store: BoundStore, fields: dict[bytes, bytes], user: bytes | None, idle: int
) -> Steps[None]:
    """Store the session under its key for the first time."""
    check_size({}, difference({}, fields), MAX_SIZE)
    id, left, inherit = session._id_of(session.session_key), session._left, None
    device = session.device[:MAX_DEVICE].encode(errors="replace") if session.device else None
    if left is not None and left.stored.user == user:
        was = left.stored
        device, inherit = device or was.device, Inherited(was.created, was.deadline, was.origin)
    created: Created | None = yield store.create(
        id,
        fields=fields,
        user=user,
        idle=idle,
        lifetime=session._config.lifetime,
        inherit=inherit,
        device=device,
    )
    if created is None:
        raise CreateError if inherit is None else UpdateError
    session._minted = False
    session._stored = Loaded(
        fields,
        created.created,
        created.deadline,
        user=user,
        device=device,
        origin=id if inherit is None else inherit.origin,
    )


def leave(session: "SessionStore", store: BoundStore, left: Left, idle: int) -> Steps[Delta]:
    """End the session under the key that it had; what others have saved to it meanwhile."""
    new, was, now, nothing = session._id, left.stored, session._stored, Delta({}, set())
    last: Loaded | None = yield store.destroy(left.id, grace=GRACE, successor=new, user=was.user)
    session._left = None
    if last is None or last.ended:
        successor = None if last is None else last.successor
        proved = now.user not in (None, was.user)
        # That it went on as the new one was said by us, and the answer was lost.
        if proved or successor == new or (was.user is None and successor is not None):
            return nothing
        session._session_key, session._ended = left.key, True
        yield store.destroy(new, grace=0, user=now.user)
        raise UpdateError
    if was.user not in (None, now.user):
        return nothing
    theirs = late(difference(was.fields, now.fields), was.fields, last.fields)
    if theirs:
        yield store.save(new, changed=theirs.changed, removed=theirs.removed, idle=idle)
        session._stored = replace(now, fields=theirs.applied(now.fields))
    return theirs


def delete(session: "SessionStore", store: BoundStore, key: str | None) -> Steps[None]:
    """End the session of ``key``; without one this session, under every key that it has."""
    left = session._left
    if key not in (None, session.session_key):
        yield from _end(store, session._id_of(key), None)
        return
    if left is not None:
        yield from _end(store, left.id, left.stored.user)
    if not session._minted:
        yield from _end(store, session._id, session._stored.user)
    session._left, session._minted, session._ended = None, False, True


def _end(store: BoundStore, id: str, user: bytes | None) -> Steps[None]:
    if id:
        yield from end(store, id, user=user)
