"""Load and commit: what every shell shares. The options are checked here, once, and have their defaults here.

The sequences are generators (see :mod:`scalekit._steps`), so that one text serves ASGI and WSGI. Rules:

* A session costs one round trip to load and one to save. Untouched it costs none.
* How a session gets an id, changes it and ends is in :mod:`scalekit.sessions._identity`.
* Everything that can be refused (a value, the size) is refused before the first access to the store.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypedDict, Unpack

from scalekit._durations import Duration, seconds
from scalekit._http import Cookie, read_cookie, read_cookies
from scalekit._options import check_kind, check_names, in_colour
from scalekit._signing import key_ring
from scalekit._steps import Steps
from scalekit.errors import BackendError, ConfigurationError, DecryptionFailed
from scalekit.sessions._following import NEVER, look_for_lost, past, send_again, stands
from scalekit.sessions._identity import MOVES, give_id, leave, log_out
from scalekit.sessions._moving import LegacyToken, Moving, arrive, move
from scalekit.sessions._sealed import refuse_sealed
from scalekit.sessions._sparing import SparingLog
from scalekit.sessions._state import Pending, Status
from scalekit.sessions.codec import Codec, Types
from scalekit.sessions.csrf import CSRF
from scalekit.sessions.events import Events
from scalekit.sessions.migration import LegacyCookie
from scalekit.sessions.session import Session
from scalekit.sessions.store import BoundStore, Loaded, Store
from scalekit.sessions.tokens import Tokens
from scalekit.sessions.values import check_size
from scalekit.types import Colour, SecretKey

DAY = 24 * 60 * 60
IDLE = 7 * DAY
MAX_SIZE = 256 * 1024
REFRESH = 300_000  # ms; how exactly "last seen" is known


class Options(TypedDict, total=False):
    """What every shell takes besides the store and the secret.

    * ``cookie``: its name and attributes; default ``Cookie()``.
    * ``idle_timeout``: seconds or ``timedelta`` without a request after which a session ends; default 7 days.
      It is extended when a tenth of it has passed, or five minutes, so a session may end that much earlier. A
      ``lifetime`` that is shorter cuts it: no session outlives that.
    * ``lifetime``: seconds or ``timedelta`` after which a visitor must log in again, however active;
      default 30 days. Only ``login()`` starts it anew.
    * ``max_size``: bytes that a session may have; default 256 KiB.
    * ``types``: classes of your own whose instances sessions may hold, such as ``[Address, Colour]``:
      dataclasses, attrs classes, ``msgspec.Struct``, models of pydantic 2, enums. Their names are stored;
      ``{"Address": PostalAddress}`` gives others (of several for one class, the last is written).
    * ``on_error``: what reading a session does while the store is down: ``"unavailable"`` (default) answers
      503, ``"anonymous"`` treats the visitor as nobody. Changes are answered with 503 in both.
    * ``events``: functions to call when a session is created, rotated or destroyed; default: none.
    * ``migrate``: the cookies of the session middleware that was here before, such as
      ``[StarletteCookie(secret_key=OLD_SECRET)]``: each is moved into the store with the first response to
      a request that looks at its session, and logs nobody out. See :mod:`scalekit.sessions.migration`.
    """

    cookie: Cookie
    idle_timeout: Duration
    lifetime: Duration
    max_size: int
    types: Types
    on_error: Literal["unavailable", "anonymous"]
    events: Events
    migrate: Sequence[LegacyCookie]


STORE = "a store, such as RedisStore.from_url(url), RedisStore(client) or MemoryStore()"


class Storeless:
    """What is given as a store and is none: sessions that need no store bring rules of their own."""

    def core(self, *, secret_key: SecretKey, **options: Unpack[Options]) -> "Core":
        """What a middleware works with instead."""
        raise NotImplementedError


def bind(
    store: Store, colour: Colour, *, taker: str, options: Iterable[str], known: type = Options
) -> "Callable[..., Core]":
    """What makes the rules of ``taker`` over the store in its colour, once the names of its ``options`` are
    those that are ``known``.

    Raises:
        ConfigurationError: an option that there is not, or a store that is none.
        WrongColour: the store's client has the other colour.
    """
    check_names(options, known, taker=taker)
    check_kind(store, Store, option="store=", wanted=STORE)
    if isinstance(store, Storeless):
        return store.core
    return functools.partial(Core, in_colour(store, colour, taker=taker))


class Core:
    """The rules of one middleware, for sessions of either colour.

    Attributes:
        stored: whether sessions are in a store: something that is asked, and that sees every request.

    Raises:
        ConfigurationError: an option is wrong.
    """

    stored = True

    def __init__(
        self,
        store: BoundStore,
        *,
        secret_key: SecretKey,
        cookie: Cookie = Cookie(),
        idle_timeout: Duration = IDLE,
        lifetime: Duration = 30 * DAY,
        max_size: int = MAX_SIZE,
        types: Types = (),
        on_error: Literal["unavailable", "anonymous"] = "unavailable",
        events: Events = Events(),
        migrate: Sequence[LegacyCookie] = (),
    ) -> None:
        if on_error not in ("unavailable", "anonymous"):
            raise ConfigurationError(f"on_error={on_error!r}; use 'unavailable' or 'anonymous'")
        check_kind(max_size, int, option="max_size=", wanted="a whole number of bytes, such as 256 * 1024")
        if max_size < 1:
            raise ConfigurationError(f"max_size={max_size!r} must be at least 1 byte")
        check_kind(cookie, Cookie, option="cookie=", wanted="a Cookie, such as Cookie(name='shop')")
        check_kind(events, Events, option="events=", wanted="Events(...), such as Events(created=log)")
        self.store = store
        self.events = events
        ring = key_ring(secret_key)
        self.tokens = Tokens(ring)
        self.csrf = CSRF(ring)
        self.cookie = cookie
        self.lifetime = int(seconds(lifetime, name="lifetime", minimum=1) * 1000)
        self.idle = min(int(seconds(idle_timeout, name="idle_timeout", minimum=1) * 1000), self.lifetime)
        self.step = min(self.idle // 10, REFRESH)
        self.max_size = max_size
        self.codec = Codec(types)
        self.on_error = on_error
        self.moving = Moving(migrate, ours=cookie)
        self._names = {https: cookie.name_for(https=https) for https in (False, True)}
        self._log = SparingLog()

    def token(self, headers: Iterable[tuple[bytes, bytes]], *, https: bool) -> str | None:
        """The token that a request came with, if we made it."""
        cookie = read_cookie(headers, self._names[https])
        if cookie is not None:
            token = self.tokens.verify(cookie)
            if token is None:
                # One that somebody else has set, on the same domain, must not hide ours.
                others = map(self.tokens.verify, read_cookies(headers, self._names[https]))
                token = next(filter(None, others), None)
            if token is not None:
                return token
        return self.moving.find(headers) if self.moving else None

    def load(self, session: Session) -> Steps[None]:
        """Fetch a session that was not loaded yet. A store that is down is remembered, not raised."""
        if session._status not in (Status.UNLOADED, Status.UNKNOWN):
            return
        if session._came_with is None:
            session._arrived(None)
            return
        try:
            loaded = yield from self.find(session)
            if isinstance(session._came_with, LegacyToken):
                yield from arrive(self, session, session._came_with, loaded)
            else:
                session._arrived(loaded)
            look_for_lost(session)
        except BackendError as error:
            if not isinstance(error, DecryptionFailed):  # that is told once, where it was found
                self._log.log(logging.WARNING, "a session could not be loaded: %s", error)
            session._missed(error, readable=self.on_error == "anonymous")

    def find(self, session: Session) -> Steps[Loaded | None]:
        """The session, if need be under the id that it has been given by another request."""
        own = not session._followed
        loaded: Loaded | None = yield self.store.load(session._id, idle=self.idle, step=self.step, own=own)
        for _ in range(MOVES):
            if loaded is None or not loaded.alias or loaded.successor is None:
                break
            refuse_sealed(session._id, loaded)
            there: Loaded | None = yield self.store.load(loaded.successor, idle=self.idle, step=NEVER)
            if there is None:
                return None
            if not stands(there) and (there.alias or not there.ended):
                return past(there)
            session._follow(loaded.successor)
            loaded = there
        if loaded is not None:
            refuse_sealed(session._id, loaded)
        return loaded

    def commit(self, session: Session) -> Steps[bool]:
        """Store what the application changed; a cookie that is to be sent is ``session._cookie`` afterwards.

        ``False`` if the session was ended by another request: nothing was stored then.

        Raises:
            SessionValueError, SessionTooLarge: before any access to the store.
            SessionCommitted: it is too late for a cookie, and the visitor has none.
            BackendError: the store failed.
        """
        if session._status is Status.UNLOADED or session._unchanged():
            return True
        if session._status is Status.UNKNOWN:
            if session._values.delta():
                session._refuse()  # a default was handed out and changed; there may well be a session
            return True
        pending = session._pending()
        legacy = session._came_with if isinstance(session._came_with, LegacyToken) else None
        lost = session._unheard is not None and not session._sealed
        if not (pending or session._leaving or lost) and (legacy is None or session._sealed):
            return True
        if session._sealed and session._status is Status.NEW and pending.how != "logout":
            session._too_late()  # what was handed out was changed in place
        check_size(pending.values.fields, pending.delta, self.max_size)
        try:
            if legacy is not None and session._moves:
                # After the headers only a log-out comes here. It ends nothing but what is there.
                yield from move(self, session)
                pending = session._pending()
            if session._leaving is not None and not (yield from leave(self, session, session._leaving)):
                return False
            stored = not pending or (yield from self._commit(session, pending))
            if lost and session._cookie is None:
                yield from send_again(self, session)
        except BackendError as error:
            session._failed(error)
            raise
        session._recovered()
        return stored

    def unsaved(self, error: BackendError) -> None:
        """Log that a response was replaced."""
        self._log.log(
            logging.ERROR, "a session could not be saved; the response is replaced by 503: %s", error
        )

    def _commit(self, session: Session, pending: Pending) -> Steps[bool]:
        if pending.how == "logout":
            return (yield from log_out(self, session, pending))
        if pending.how != "login" and session._status is Status.ENDED:
            session._ended(pending)
            return False
        # Who follows a rotation does not rotate again: see the rules of a session.
        stays = pending.how is None or (pending.how == "rotate" and session._followed)
        if stays and session._status is Status.LIVE:
            return (yield from self.save(session, pending))
        return (yield from give_id(self, session, pending))

    def save(self, session: Session, pending: Pending) -> Steps[bool]:
        changed, removed = pending.delta.changed, pending.delta.removed
        for _ in range(MOVES):
            if (yield self.store.save(session._id, changed=changed, removed=removed, idle=self.idle)):
                session._settled(pending)
                return True
            if not (yield from self.follow(session)):
                break
        session._ended(pending)
        return False

    def follow(self, session: Session) -> Steps[bool]:
        """Whether a session that is not where it was has just been rotated; its id is the new one then."""
        mark: Loaded | None = yield self.store.load(session._id, idle=self.idle, step=NEVER)
        if mark is None or not mark.alias or mark.successor is None:
            return False
        refuse_sealed(session._id, mark)
        session._follow(mark.successor)
        return True

    def cookie_of(self, session: Session, token: str, left: int) -> bytes:
        """The cookie that gives the visitor a session with ``left`` milliseconds to live."""
        max_age = left // 1000 if session.persistent else None
        return self.cookie.set(self.tokens.sign(token), https=session._https, max_age=max_age)
