"""Load and commit: what every shell shares. The options are checked here, once, and have their defaults here.

The sequences are generators (see :mod:`scalekit._steps`), so that one text serves ASGI and WSGI. Rules:

* A session costs one round trip to load and one to save. Untouched it costs none.
* A change of id creates the new session first and ends the old one then, as a crash in between must leave
  the visitor with one that works; from the creation on, the visitor is given the new cookie, also with a
  503. What others saved to the old one in the meantime is carried over. If it is gone by then, somebody
  ended it, and it must not live on under another id: the new one is taken back.
* The old id answers that it has ended for a minute, and under which id it went on. A request that was under
  way with it can then be told from a visitor who comes back with an old cookie, and sends no cookie that
  replaces the new one. A log-out ends what the session went on as, too.
* What comes too late, under an id that a log-in or a rotation has ended, is dropped and never carried over:
  somebody else may know that id, and that is why it was changed.
* Everything that can be refused (a value, the size) is refused before the first access to the store.
"""

import logging
from collections.abc import Iterable
from typing import Literal, TypedDict

from scalekit._durations import Duration, seconds
from scalekit._http import Cookie, read_cookie
from scalekit._options import check_kind, check_names, in_colour
from scalekit._steps import Steps
from scalekit.errors import BackendError, ConfigurationError
from scalekit.sessions.session import Pending, Session, Status
from scalekit.sessions.store import BoundStore, Created, Loaded, Store
from scalekit.sessions.tokens import Tokens, store_id
from scalekit.sessions.values import check_size, late
from scalekit.types import Colour, SecretKey

_log = logging.getLogger("scalekit.sessions")

DAY = 24 * 60 * 60
MAX_SIZE = 256 * 1024
GRACE = 60_000  # ms; longer than a request is under way
MOVES = 16  # more changes of id than a visitor can make in that time


class Options(TypedDict, total=False):
    """What every shell takes besides the store and the secret.

    * ``cookie``: its name and attributes; default ``Cookie()``.
    * ``idle_timeout``: seconds or ``timedelta`` without a request after which a session ends; default 7 days.
      It is extended when a tenth of it has passed, so a session may end up to a tenth earlier. A ``lifetime``
      that is shorter cuts it: no session outlives that.
    * ``lifetime``: seconds or ``timedelta`` after which a visitor must log in again, however active;
      default 30 days. Only ``login()`` starts it anew.
    * ``max_size``: bytes that a session may have; default 256 KiB.
    * ``on_error``: what reading a session does while the store is down: ``"unavailable"`` (default) answers
      503, ``"anonymous"`` treats the visitor as nobody. Changes are answered with 503 in both.
    """

    cookie: Cookie
    idle_timeout: Duration
    lifetime: Duration
    max_size: int
    on_error: Literal["unavailable", "anonymous"]


STORE = "a store, such as RedisStore.from_url(url), RedisStore(client) or MemoryStore()"


def bind(
    store: Store, colour: Colour, *, taker: str, options: Iterable[str], known: type = Options
) -> BoundStore:
    """The store in the colour of ``taker``, once the names of its ``options`` are those that are ``known``.

    Raises:
        ConfigurationError: an option that there is not, or a store that is none.
        WrongColour: the store's client has the other colour.
    """
    check_names(options, known, taker=taker)
    check_kind(store, Store, option="store=", wanted=STORE)
    return in_colour(store, colour, taker=taker)


class Core:
    """The rules of one middleware, for sessions of either colour.

    Raises:
        ConfigurationError: an option is wrong.
    """

    def __init__(
        self,
        store: BoundStore,
        *,
        secret_key: SecretKey,
        cookie: Cookie = Cookie(),
        idle_timeout: Duration = 7 * DAY,
        lifetime: Duration = 30 * DAY,
        max_size: int = MAX_SIZE,
        on_error: Literal["unavailable", "anonymous"] = "unavailable",
    ) -> None:
        if on_error not in ("unavailable", "anonymous"):
            raise ConfigurationError(f"on_error={on_error!r}; use 'unavailable' or 'anonymous'")
        if max_size < 1:
            raise ConfigurationError(f"max_size={max_size!r} must be at least 1 byte")
        check_kind(cookie, Cookie, option="cookie=", wanted="a Cookie, such as Cookie(name='shop')")
        self.store = store
        self.tokens = Tokens(secret_key)
        self.cookie = cookie
        self.lifetime = int(seconds(lifetime, name="lifetime", minimum=1) * 1000)
        self.idle = min(int(seconds(idle_timeout, name="idle_timeout", minimum=1) * 1000), self.lifetime)
        self.step = self.idle // 10
        self.max_size = max_size
        self.on_error = on_error
        self._names = {https: cookie.name_for(https=https) for https in (False, True)}

    def token(self, headers: Iterable[tuple[bytes, bytes]], *, https: bool) -> str | None:
        """The token that a request came with, if we made it."""
        cookie = read_cookie(headers, self._names[https])
        return self.tokens.verify(cookie) if cookie is not None else None

    def load(self, session: Session) -> Steps[None]:
        """Fetch a session that was not loaded yet. A store that is down is remembered, not raised."""
        if session._status not in (Status.UNLOADED, Status.UNKNOWN):
            return
        if session._came_with is None:
            session._arrived(None)
            return
        try:
            loaded: Loaded | None = yield self.store.load(session._id, idle=self.idle, step=self.step)
        except BackendError as error:
            _log.warning("a session could not be loaded: %s", error)
            session._missed(error, readable=self.on_error == "anonymous")
        else:
            session._arrived(loaded)

    def commit(self, session: Session) -> Steps[bool]:
        """Store what the application changed; a cookie that is to be sent is ``session._cookie`` afterwards.

        ``False`` if the session was ended by another request: nothing was stored then.

        Raises:
            SessionValueError, SessionTooLarge: before any access to the store.
            BackendError: the store failed.
        """
        if session._status in (Status.UNLOADED, Status.UNKNOWN):
            return True
        pending = session._pending()
        if not pending:
            return True
        check_size(pending.values.fields, pending.delta, self.max_size)
        try:
            stored = yield from self._commit(session, pending)
        except BackendError as error:
            session._failed(error)
            raise
        session._recovered()
        return stored

    def _commit(self, session: Session, pending: Pending) -> Steps[bool]:
        if pending.how == "logout":
            return (yield from self._log_out(session, pending))
        if pending.how is None and session._status is Status.LIVE:
            delta = pending.delta
            stored: bool = yield self.store.save(
                session._id, changed=delta.changed, removed=delta.removed, idle=self.idle
            )
            if stored:
                session._settled(pending)
            else:
                session._ended(pending)
            return stored
        if pending.how != "login" and session._status is Status.ENDED:
            session._ended(pending)
            return False
        return (yield from self._move(session, pending))

    def _log_out(self, session: Session, pending: Pending) -> Steps[bool]:
        if session._status in (Status.LIVE, Status.ENDED):
            yield from end(self.store, session._id)
        session._left(pending)
        came = session._came_with is not None
        session._cookie = self.cookie.delete(https=session._https) if came else None
        if pending.delta.changed:
            return (yield from self._move(session, pending))
        return True

    def _move(self, session: Session, pending: Pending) -> Steps[bool]:
        """Put the session under an id of its own: its first, or a new one."""
        fields = pending.delta.applied(pending.values.fields)
        old = session._id if session._status is Status.LIVE else None
        if old is None and not fields and pending.user is None:
            session._settled(pending)
            return True  # nothing worth a session
        token = self.tokens.mint()
        keeps = old is not None and pending.how == "rotate"
        created: Created | None = yield self.store.create(
            store_id(token),
            fields=fields,
            user=pending.user,
            idle=self.idle,
            lifetime=self.lifetime,
            inherit=(session._stored.created, session._stored.deadline) if keeps else None,
        )
        if created is None:
            session._ended(pending)
            return False
        session._moved(pending, store_id(token), created)
        session._cookie = self.cookie.set(
            self.tokens.sign(token),
            https=session._https,
            max_age=created.left // 1000 if session.persistent else None,
        )
        return old is None or (yield from self._leave(old, session, pending))

    def _leave(self, old: str, session: Session, pending: Pending) -> Steps[bool]:
        """End the session that went on under another id; ``False`` if another request has ended it."""
        new = session._id
        last: Loaded | None = yield self.store.destroy(old, grace=GRACE, successor=new)
        if last is None or last.ended:
            if pending.how == "login":
                return True
            session._ended(pending)
            session._id, session._cookie = old, None
            yield self.store.destroy(new, grace=0)
            return False
        theirs = late(pending.delta, pending.values.fields, last.fields)
        if theirs and pending.inherits:
            yield self.store.save(new, changed=theirs.changed, removed=theirs.removed, idle=self.idle)
            pending.values.adopt(theirs)
        return True


def end(store: BoundStore, id: str) -> Steps[None]:
    """End a session, and what it went on as if another request has moved it."""
    for _ in range(MOVES):
        last: Loaded | None = yield store.destroy(id, grace=GRACE)
        if last is None or last.successor is None:
            return
        id = last.successor
