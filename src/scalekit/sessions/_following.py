"""Who comes with the id from before a rotation. Rules:

* It stands for the new one until ten seconds after the browser has first come with that: longer than the
  requests take that it sent before. They read and save the session that went on, so that whoever logs it
  out has logged them out too, and send no cookie: theirs could replace a newer one.
* If the browser does not come with the new id within ten seconds, the answer that brought the cookie was
  lost: a phone in a tunnel, a connection that was closed. Whoever comes with the old id then is sent the
  cookie again. It is the same one for all of them, so that it does not matter which answer arrives last.
* That holds for a day, or for as long as the session may be idle, if that is less: a mark in the store for
  each rotation is the price, and who has stolen the old cookie of a visitor that never came back can use it
  for no longer. After the ten seconds it is worth nothing, and tells so for what is left of a minute.
"""

import time
from typing import TYPE_CHECKING

from scalekit._steps import Steps
from scalekit.sessions._identity import GRACE
from scalekit.sessions._state import Status
from scalekit.sessions._successor import unseal
from scalekit.sessions.session import Session
from scalekit.sessions.store import Loaded
from scalekit.sessions.tokens import store_id

if TYPE_CHECKING:
    from scalekit.sessions._core import Core

ALIAS = 10_000  # ms
NEVER = 2**52  # a step that nothing has been idle for


def stands(loaded: Loaded) -> bool:
    """Whether the id from before a rotation stands for the one under which this was loaded."""
    rotation = loaded.rotation
    return rotation is not None and (not rotation.heard or rotation.since < ALIAS)


def past(loaded: Loaded) -> Loaded | None:
    """What an id is that does not stand for this one any more."""
    rotation = loaded.rotation
    return Loaded(ended=True) if rotation is not None and rotation.since < GRACE else None


def look_for_lost(session: Session) -> None:
    """Remember the token of a session that was found under its old id, if its cookie was lost."""
    rotation, came = session._stored.rotation, session._came_with
    if session._status is not Status.LIVE or not session._followed or rotation is None or came is None:
        return
    if not rotation.heard and rotation.since >= ALIAS:
        session._unheard = unseal(rotation.token, old=came, id=session._id)


def send_again(core: "Core", session: Session) -> Steps[None]:
    """Give the visitor the cookie that seems to have been lost, unless it has arrived by now."""
    token, session._unheard = session._unheard, None
    if token is None or store_id(token) != session._id:
        return
    # The visitor is here, so that it is extended, which a look at what the old id stands for does not do.
    there: Loaded | None = yield core.store.load(session._id, idle=core.idle, step=core.step)
    if there is None or there.ended or (there.rotation is not None and there.rotation.heard):
        return
    left = there.deadline - int(time.time() * 1000)
    session._cookie = core.cookie_of(session, token, max(left, 1000))
