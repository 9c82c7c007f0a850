"""What happens to sessions, told to functions of the application: for an audit log, or a mail to the user."""

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeAlias
from uuid import UUID

from scalekit.errors import ConfigurationError
from scalekit.sessions.owner import decode_user, device_name
from scalekit.sessions.store import Loaded

_log = logging.getLogger("scalekit.sessions")


@dataclass(frozen=True, kw_only=True)
class SessionEvent:
    """Something that has happened to a session.

    Attributes:
        id: the session's id in the store. It is no token, and may be logged and shown.
        user_id: whose session it is; ``None`` for nobody's.
        device: what it was begun from, as in :class:`~scalekit.sessions.SessionInfo`.
        previous: the id under which it was before, if it was rotated.
        login: whether it was created or rotated by ``login()``.
    """

    id: str
    user_id: str | int | UUID | None = None
    device: str | None = None
    previous: str | None = None
    login: bool = False


Callback: TypeAlias = Callable[[SessionEvent], object]


@dataclass(frozen=True, kw_only=True)
class Events:
    """Functions that are called once the store has what they are told, before the response leaves.

    They are plain functions and short: they run on the event loop of an ASGI application. What one raises is
    logged, as the session has changed by then, and the visitor must get the new cookie. Sessions that end
    because nobody came back are not told: they expire in the store.

    Args:
        created: a visitor was given a session.
        rotated: a session goes on under another id, by ``rotate()``, or by ``login()`` of a known visitor.
        destroyed: a visitor has logged out.
        revoked: somebody else has ended the session, through ``UserSessions``.

    Raises:
        ConfigurationError: one is no function, or an ``async def``.
    """

    created: Callback | None = None
    rotated: Callback | None = None
    destroyed: Callback | None = None
    revoked: Callback | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            callback = getattr(self, field.name)
            if callback is None:
                continue
            if not callable(callback):
                raise ConfigurationError(f"{field.name}={callback!r} must be a function of one SessionEvent")
            if inspect.iscoroutinefunction(callback):
                raise ConfigurationError(
                    f"{field.name}={callback!r} must be a plain function, as WSGI has no event loop; "
                    "start a task in it, or put the event into a queue"
                )


def tell(
    callback: Callback | None, id: str, session: Loaded, *, previous: str | None = None, login: bool = False
) -> None:
    """Call ``callback``, if there is one, about ``session``."""
    if callback is None:
        return
    try:
        user = None if session.user is None else decode_user(session.user)
        device = device_name(session.device)
        callback(SessionEvent(id=id, user_id=user, device=device, previous=previous, login=login))
    # Whatever it is: the session is what it is now, and the visitor needs the answer that says so.
    except Exception:  # noqa: BLE001
        _log.exception("a function for session events failed on %s...", id[:8])
