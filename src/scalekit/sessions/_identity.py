"""How a session gets its first id, changes it, and ends. Rules:

* A change of id creates the new session first and ends the old one then, as a crash in between must leave
  the visitor with one that works. An end that the store did not confirm is tried again with the next save.
  If that does not come, the 503 has the new cookie after a log-in, as the old one may have ended. After a
  rotation it has none: the old one is as good, whether it has ended or not, and nobody knows what others have
  saved to it meanwhile, or that they have logged out.
* What others saved to the old one in the meantime is carried over, and then the old one is ended if nothing
  was saved since. After a rotation others change the new session from that moment on.
* If the old one is gone by then, somebody ended it, and it must not live on under another id: the new one is
  taken back. Only who has logged in goes on, having proved who it is.
* The old id answers that it has ended for a minute, and under which id it went on. A request that was under
  way with it can then be told from a visitor who comes back with an old cookie, and sends no cookie that
  replaces the new one.
* After a rotation the old id stands for the new one, until the browser has that (see ``_following``).
  A log-in also ends what it was rotated to.
* What comes too late, under an id that a log-in has ended, is dropped and never carried over: somebody else
  may know that id, and that is why it was changed.
* A log-out ends what the session went on as, too.
"""

from typing import TYPE_CHECKING

from scalekit._steps import Steps
from scalekit.sessions._state import Leaving, Pending, Status
from scalekit.sessions._successor import seal
from scalekit.sessions.events import tell
from scalekit.sessions.session import Session
from scalekit.sessions.store import BoundStore, Created, Inherited, Loaded
from scalekit.sessions.tokens import store_id
from scalekit.sessions.values import late

if TYPE_CHECKING:
    from scalekit.sessions._core import Core

GRACE = 60_000  # ms; longer than a request is under way
KEPT = 86_400_000  # ms for which a rotated id stands for one that the browser does not come with
_UNSEEN = -1  # a version that no session has
MOVES = 100  # more changes of id than a visitor can make in that time


def give_id(core: "Core", session: Session, pending: Pending) -> Steps[bool]:
    """Put the session under an id of its own: its first, or a new one."""
    fields = pending.delta.applied(pending.values.fields)
    old = session._id if session._status is Status.LIVE else None
    if old is None and not fields and pending.user is None and pending.minted is None:
        session._settled(pending)
        return True  # nothing worth a session
    token, stored = pending.minted or core.tokens.mint(), session._stored
    keeps, came = old is not None and pending.how == "rotate", session._came_with
    sealed = seal(token, old=came) if keeps and came is not None and store_id(came) == old else b""
    created: Created | None = yield core.store.create(
        store_id(token),
        fields=fields,
        user=pending.user,
        device=pending.device,
        idle=core.idle,
        lifetime=core.lifetime,
        inherit=Inherited(stored.created, stored.deadline, stored.origin, sealed) if keeps else None,
    )
    if created is None:
        session._ended(pending)
        return False
    session._moved(pending, store_id(token), created, stored.origin if keeps else store_id(token))
    cookie = core.cookie_of(session, token, created.left)
    if not sealed:
        session._cookie = cookie
    if old is None:
        tell(core.events.created, session._id, session._stored, login=pending.how == "login")
        return True
    if pending.how == "login":  # whatever comes of the old one
        tell(core.events.rotated, session._id, session._stored, previous=old, login=True)
    session._leaving = Leaving(old, stored.user, stored.version, pending, cookie if sealed else None)
    return (yield from leave(core, session, session._leaving))


def leave(core: "Core", session: Session, leaving: Leaving) -> Steps[bool]:
    """End the session that went on under another id; ``False`` if another request has ended it."""
    old, pending, new = leaving.old, leaving.pending, session._id
    last = yield from _end_old(core, new, leaving)
    session._leaving = None
    if pending.how == "login":
        return True
    if last is not None and not last.ended:
        session._cookie = leaving.cookie or session._cookie
        tell(core.events.rotated, new, session._stored, previous=old)
        return True
    session._id, session._cookie = old, None
    yield core.store.destroy(new, grace=0, user=pending.user)
    if last is not None and last.alias and last.successor is not None:
        session._follow(last.successor)
        return (yield from core.save(session, pending))
    session._ended(pending)
    return False


def _end_old(core: "Core", new: str, leaving: Leaving) -> Steps[Loaded | None]:
    """End what the session was before, once the new one has all that is worth having of it.

    Returns:
        What it was; if another request has ended it, what there is to know of that.
    """
    old, owner, version, pending, _ = leaving
    alias = pending.how == "rotate"
    grace = max(GRACE, min(core.idle, KEPT)) if alias else GRACE
    seen = version if pending.inherits else None
    for _ in range(MOVES):
        last: Loaded | None = yield core.store.destroy(
            old, grace=grace, successor=new, alias=alias, user=owner, version=seen
        )
        if last is None:
            return None
        elif last.ended:
            if last.successor == new:
                return Loaded()  # it was us, and the answer was lost
            if alias or not last.alias or last.successor is None:
                return last
            old, seen = last.successor, None if seen is None else _UNSEEN
        elif seen is None or seen == last.version:
            return last
        else:
            yield from _carry_over(core, new, pending, last)
            seen = last.version
    # Somebody saves all the time. Without an alias, nobody else has the new one yet.
    last = yield core.store.destroy(old, grace=GRACE, successor=new, user=owner)
    if last is not None and not last.ended:
        yield from _carry_over(core, new, pending, last)
    return last


def _carry_over(core: "Core", new: str, pending: Pending, last: Loaded) -> Steps[None]:
    theirs = late(pending.delta, pending.values.fields, last.fields)
    if theirs:
        yield core.store.save(new, changed=theirs.changed, removed=theirs.removed, idle=core.idle)
        pending.values.adopt(theirs)


def log_out(core: "Core", session: Session, pending: Pending) -> Steps[bool]:
    """End the session, and begin another one with what was set afterwards."""
    if session._status in (Status.LIVE, Status.ENDED):
        id, last = yield from end(core.store, session._id, user=session._stored.user)
        if last is not None and not last.ended:
            tell(core.events.destroyed, id, last)
    session._left(pending)
    came = session._came_with is not None
    session._cookie = core.cookie.delete(https=session._https) if came else None
    session._farewells = (*core.moving.farewells(https=session._https),)
    if pending.delta.changed or pending.minted is not None:
        return (yield from give_id(core, session, pending))
    return True


def end(store: BoundStore, id: str, *, user: bytes | None) -> Steps[tuple[str, Loaded | None]]:
    """End a session, and what it went on as if another request has moved it.

    Returns:
        The last id that it had, and what it was then.
    """
    last: Loaded | None = None
    for _ in range(MOVES):
        last = yield store.destroy(id, grace=GRACE, user=user)
        if last is None or last.successor is None:
            break
        id = last.successor
    return id, last
