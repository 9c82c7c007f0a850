"""Load and commit where the cookie is the session; the rules are in :mod:`scalekit.sessions.cookie`."""

import functools
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, Unpack

from scalekit._http import read_cookies
from scalekit._steps import Steps
from scalekit.errors import SessionCommitted, SessionError, SessionTooLarge
from scalekit.sessions._cookie_format import LIMIT, Format
from scalekit.sessions._core import Core, Options
from scalekit.sessions._moving import Legacy, LegacyToken, begin
from scalekit.sessions._state import Pending, Status
from scalekit.sessions.events import tell
from scalekit.sessions.session import Session
from scalekit.sessions.store import Created, Loaded
from scalekit.sessions.tokens import store_id
from scalekit.sessions.values import check_size
from scalekit.types import SecretKey

if TYPE_CHECKING:
    from scalekit.sessions._sealing import Ring


class CookieCore(Core):
    """The rules of one middleware whose sessions are in their cookies.

    Raises:
        ConfigurationError: an option is wrong.
    """

    stored = False

    def __init__(
        self,
        *,
        secret_key: SecretKey,
        ring: "Ring | None",
        clock: Callable[[], float],
        **options: Unpack[Options],
    ) -> None:
        super().__init__(_Nowhere(), secret_key=secret_key, **options)
        self._format = Format(self.cookie.name, secret_key=secret_key, ring=ring)
        self._clock = clock

    def token(self, headers: Iterable[tuple[bytes, bytes]], *, https: bool) -> str | None:
        """The cookie that a request came with, whoever has made it: it is read when the session is."""
        cookies = read_cookies(headers, self._names[https])
        if len(cookies) > 1 or (cookies and self.moving):
            # One that somebody else has set, on the same domain, must not hide ours.
            ours = next(filter(self._format.read, cookies), None)
        else:
            ours = cookies[0] if cookies else None
        return self.moving.find(headers) if ours is None and self.moving else ours

    def load(self, session: Session) -> Steps[None]:
        """Read a session that was not read yet."""
        yield from ()
        if session._status is not Status.UNLOADED:
            return
        if isinstance(session._came_with, LegacyToken):
            begin(self, session, session._came_with, functools.partial(self._fits, session))
            return
        read = None if session._came_with is None else self._format.read(session._came_with)
        if read is None:
            session._came_with, session._id = None, ""
            session._arrived(None)
            return
        session._id, loaded = read
        alive = self._now() < min(loaded.deadline, loaded.seen + self.idle)
        session._arrived(loaded if alive else None)

    def commit(self, session: Session) -> Steps[bool]:
        """Put what the application has changed into a cookie, ``session._cookie``.

        ``False`` if the session has ended meanwhile.

        Raises:
            SessionValueError, SessionTooLarge: a value that cannot be stored.
            SessionCommitted: it is too late for a cookie.
        """
        yield from ()
        if session._status is Status.UNLOADED:
            return True
        pending, now = session._pending(), self._now()
        due = session._status is Status.LIVE and now - session._stored.seen >= self.step
        due = due or session._moves
        if session._sealed:
            if pending:
                raise SessionCommitted(
                    "the response headers have left, and with them the cookie that this session is kept in; "
                    "change it earlier, or keep sessions in a store on a server"
                )
            return True
        if not pending and not due:
            return True
        check_size(pending.values.fields, pending.delta, self.max_size)
        return self._put(session, pending, now)

    def _put(self, session: Session, pending: Pending, now: int) -> bool:
        fields = pending.delta.applied(pending.values.fields)
        stays = session._status is Status.LIVE and pending.how != "logout"
        # What came from a legacy cookie has its id, and is a session even if all of it was removed: without a
        # cookie of ours it would come back.
        moves = session._moves and pending.how != "logout"
        if not (stays or moves or fields or pending.user is not None or pending.minted is not None):
            return self._take_back(session, pending)
        created, deadline = now, now + self.lifetime
        if stays and pending.how != "login":
            created, deadline = session._stored.created, session._stored.deadline
        if deadline <= now or (session._status is Status.ENDED and pending.how != "login"):
            session._ended(pending)
            return False
        fresh = store_id(pending.minted) if pending.minted is not None else secrets.token_hex(16)
        id = session._id if (stays or moves) and pending.how is None else fresh
        goes_on = (stays or moves) and pending.how != "login"
        origin = session._stored.origin if goes_on else id
        # No device: nobody lists it.
        new = Loaded(fields, created, deadline, now, user=pending.user, origin=origin)
        cookie = self._cookie_with(session, id, new)
        if len(cookie) > LIMIT:
            raise _too_large(new, len(cookie))
        if pending.how == "logout":
            self._tell_destroyed(session)
            session._farewells = (*self.moving.farewells(https=session._https),)
        old = session._id if stays else None
        session._moved(pending, id, Created(created, deadline, deadline - now), origin)
        session._stored, session._moves = replace(session._stored, seen=now), False
        session._cookie = cookie
        if id != old:
            told = self.events.created if old is None else self.events.rotated
            tell(told, id, session._stored, previous=old, login=pending.how == "login")
        return True

    def _cookie_with(self, session: Session, id: str, new: Loaded) -> bytes:
        return self.cookie.set(
            self._format.write(id, new),
            https=session._https,
            max_age=(new.deadline - new.seen) // 1000 if session.persistent else None,
        )

    def _fits(self, session: Session, legacy: Legacy) -> bool:
        """Whether what a legacy cookie holds, which can be compressed, has room in ours."""
        now = self._now()
        id = session._id
        moved = Loaded(legacy.fields, now, now + self.lifetime, now, user=legacy.user, origin=id)
        return len(self._cookie_with(session, id, moved)) <= LIMIT

    def _take_back(self, session: Session, pending: Pending) -> bool:
        """There is nothing that is worth a session."""
        if pending.how == "logout":
            self._tell_destroyed(session)
            session._left(pending)
            came = session._came_with is not None
            session._cookie = self.cookie.delete(https=session._https) if came else None
            session._farewells = (*self.moving.farewells(https=session._https),)
        else:
            session._settled(pending)
        return True

    def _tell_destroyed(self, session: Session) -> None:
        if session._status is Status.LIVE:
            tell(self.events.destroyed, session._id, session._stored)

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _too_large(session: Loaded, size: int) -> SessionTooLarge:
    parts = {b"user_id": session.user or b"", **session.fields}
    largest = max(parts, key=lambda name: len(name) + len(parts[name]))
    cure = "keep sessions in a store on a server"
    return SessionTooLarge(key=largest.decode(), size=size, limit=LIMIT, cure=cure)


def _refuse(*_: object, **options: object) -> NoReturn:
    raise SessionError("a session in a cookie is in no store")


class _Nowhere:
    """The store that there is not: should anything be asked of it, that is an error, and not silent."""

    load = save = swap = create = destroy = listed = staticmethod(_refuse)
