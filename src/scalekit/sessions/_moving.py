"""How a session moves from a legacy cookie (see :mod:`scalekit.sessions.migration`) into the store.

A legacy cookie that is valid stands for a token of ours, which follows from it. Rules:

* The store is asked first: what another request has moved is used, and what has ended since is not brought
  back. Only what was never moved reads as the cookie has it.
* It moves with the next response of a request that looked at the session, by ``create``: of requests at the
  same time one creates it, and the others find it and save their changes to it.
* A note that it was moved, under an id of its own, is written first. It stays in the store for as long as the
  cookie could be valid (and an hour, as servers' clocks differ): without it, a cookie that somebody has kept
  would undo a log-out once the mark of that is gone. So there is no session without its note, wherever a
  server is killed, a request cancelled, or an answer lost:

  - before the note: nothing has happened, and the cookie is as good as it was;
  - after the session: the next request with the cookie finds it;
  - between the two: who finds a note without a session, and without the mark of one that was ended, makes the
    session, for 45 seconds after the note. Nothing that was over is brought back by that: a session whose
    note is that young can only have ended since, and a mark of the end is there for 60 seconds (or it has
    timed out, so it is ``idle`` if that is less). Who comes later must log in again: whether the session had
    been there nobody can tell any more.

* The age of a note is by the store's clock, asked before anything of the cookie is shown: a server's may be
  wrong. A server that stood still between the two is found out by what the store says of when both were made:
  a session that is too young for its note is taken back. (Were it killed right then as well, the cookie
  would be good again; and a Redis that is full may refuse a mark, but then it takes no session either.)
* Only the request that moves the session sends its cookie: that of another one, if slow, could replace the
  cookie of a log-in. If a minute later the visitor still comes with the old one, the answer was lost, and it
  is sent once more, if the session still lives.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from scalekit._http import Cookie, read_cookies
from scalekit._options import check_items, check_kind
from scalekit._steps import Steps
from scalekit.errors import SessionValueError
from scalekit.sessions._state import Status
from scalekit.sessions.codec import Codec
from scalekit.sessions.events import tell
from scalekit.sessions.migration import LegacyCookie, Signed, Unreadable
from scalekit.sessions.owner import encode_user
from scalekit.sessions.session import Session
from scalekit.sessions.store import Created, Inherited, Loaded
from scalekit.sessions.tokens import store_id
from scalekit.sessions.values import name_of

if TYPE_CHECKING:
    from scalekit.sessions._core import Core

_log = logging.getLogger("scalekit.sessions")

# What a function raises for data that it did not expect. Anything else, such as a database that is away, is
# no answer: the visitor would be moved without being logged in, and for good.
_UNEXPECTED = (LookupError, TypeError, ValueError, AttributeError)

LOST = 60_000  # ms after which a cookie that was not used has not arrived
_UNFINISHED = 45_000  # ms; shorter than the mark of an end is there (GRACE), also after a fail-over
_SKEW = 3_600_000  # ms


class LegacyToken(str):
    """The token of the session that a legacy cookie stands for."""

    cookie: LegacyCookie
    signed: Signed

    def __new__(cls, cookie: LegacyCookie, signed: Signed) -> Self:
        self = super().__new__(cls, signed.token)
        self.cookie, self.signed = cookie, signed
        return self


class Legacy(NamedTuple):
    """What a legacy cookie gives a new session."""

    fields: dict[bytes, bytes]
    user: bytes | None


class Moving:
    """The legacy cookies that one middleware takes.

    Args:
        migrate: the cookies; the first valid one counts.
        ours: the middleware's own cookie.

    Raises:
        ConfigurationError: something that is no legacy cookie.
    """

    def __init__(self, migrate: Sequence[LegacyCookie], *, ours: Cookie) -> None:
        self._legacy: tuple[LegacyCookie, ...] = check_items(migrate, option="migrate=")
        for cookie in self._legacy:
            wanted = "a list of legacy cookies, such as StarletteCookie(secret_key=...)"
            check_kind(cookie, LegacyCookie, option="migrate=", wanted=wanted)
        self._ours = ours
        self._kept_in_vain = False
        self._told: set[str] = set()
        self._foreign: set[str] = set()  # names

    def __bool__(self) -> bool:
        return bool(self._legacy)

    def __iter__(self) -> Iterator[LegacyCookie]:
        return iter(self._legacy)

    def find(self, headers: Iterable[tuple[bytes, bytes]]) -> LegacyToken | None:
        """The first legacy cookie of a request that is valid. Its content is not looked at yet."""
        for cookie in self._legacy:
            for value in read_cookies(headers, cookie.name):
                signed = cookie.verify(value)
                if signed is not None:
                    return LegacyToken(cookie, signed)
        for name in {cookie.name for cookie in self._legacy} - self._foreign:
            self._look_for_foreign(name, read_cookies(headers, name))
        return None

    def farewells(self, only: LegacyCookie | None = None, *, https: bool) -> Iterator[bytes]:
        """What deletes the legacy cookies; one that is our own by name and place is replaced instead."""
        for legacy in self._legacy if only is None else (only,):
            if not self._replaces(legacy, https=https):
                yield legacy.cookie.delete(https=https)

    def _replaces(self, legacy: LegacyCookie, *, https: bool) -> bool:
        """Whether our own cookie takes the place of a legacy one."""
        ours, theirs = self._ours, legacy.cookie
        place = (ours.name_for(https=https), ours.path, _host(ours))
        return place == (theirs.name, theirs.path, _host(theirs))

    def kept(self, legacy: LegacyCookie, *, https: bool) -> None:
        """A cookie is to stay; say so where ours takes its place all the same."""
        if not self._kept_in_vain and self._replaces(legacy, https=https):
            self._kept_in_vain = True
            _log.warning(
                "keep=True has no effect on the cookie %r over %s, as ours has the same name there: old "
                "servers log the visitor out; give ours another one, such as cookie=Cookie(name='shop')",
                legacy.cookie.name,
                "HTTPS" if https else "plain HTTP",
            )

    def read(
        self, token: LegacyToken, codec: Codec, fits: Callable[[Legacy], bool] | None = None
    ) -> Legacy | None:
        """What a valid cookie holds, as far as it ``fits``; ``None`` if it cannot be read, or is empty."""
        cookie = token.cookie
        try:
            data = cookie.read(token.signed.payload)
        except Unreadable as error:
            self._tell(f"a signed cookie {cookie.name!r} is no session of {type(cookie).__name__}: {error}")
            return None
        fields: dict[bytes, bytes] = {}
        for key, value in data.items():
            try:
                fields[name_of(key)] = codec.encode(key, value)
            except SessionValueError as error:
                self._tell(f"a value in the cookie {cookie.name!r} is left out: {error}")
        encoded = self._user(cookie, data)
        if fits is not None and encoded is not None and not fits(Legacy({}, encoded)):
            self._tell(
                f"user= of the cookie {cookie.name!r}: {len(encoded)} bytes do not fit into a cookie of ours"
            )
            encoded = None
        while fits is not None and fields and not fits(Legacy(fields, encoded)):
            largest = max(fields, key=lambda name: len(name) + len(fields[name]))
            del fields[largest]
            self._tell(
                f"a value in the cookie {cookie.name!r} is left out, as all of them do not fit into a cookie "
                f"of ours: {largest.decode()!r}; a store on a server has room for them"
            )
        return Legacy(fields, encoded) if fields or encoded is not None else None

    def _user(self, cookie: LegacyCookie, data: dict[str, Any]) -> bytes | None:
        if cookie.user is None:
            return None
        try:
            user: Any = cookie.user(data)
        except _UNEXPECTED as error:
            text = f"user= of the cookie {cookie.name!r} raised {type(error).__name__}: nobody is logged in"
            self._tell(text, error)
            return None
        try:
            return None if user is None else encode_user(user)
        except SessionValueError as error:
            self._tell(f"user= of the cookie {cookie.name!r}: {error}")
            return None

    def _look_for_foreign(self, name: str, values: Iterable[str]) -> None:
        """Log that a cookie came which none of the legacy cookies of this ``name`` has signed."""
        now, named = datetime.now(UTC), [cookie for cookie in self._legacy if cookie.name == name]
        over = any(cookie.until is not None and now >= cookie.until for cookie in named)
        if over or not any(value and all(cookie.foreign(value) for cookie in named) for value in values):
            return
        self._foreign.add(name)
        kinds = " or ".join(f"{type(cookie).__name__}(...)" for cookie in named)
        _log.warning(
            "a cookie %r came with a signature that migrate=[%s] does not know, and is ignored: it is "
            "forged, or the old application had another secret_key, salt, or kind of cookie (said once)",
            name,
            kinds,
        )

    def _tell(self, text: str, error: Exception | None = None) -> None:
        # Once: a visitor's cookie comes with every request.
        if text not in self._told and len(self._told) < 100:
            self._told.add(text)
            _log.error("%s", text, exc_info=error)


def arrive(core: "Core", session: Session, token: LegacyToken, loaded: Loaded | None) -> Steps[None]:
    """The store has answered what it has for a legacy cookie: a session, its end, or nothing."""
    if loaded is None:
        note = yield from _find_note(core, token)
        if note is None:
            begin(core, session, token)
            return
        # Another request may have moved it between the two looks.
        loaded = yield from core.find(session)
        if loaded is None and (yield from _is_young(core, note)):
            begin(core, session, token)
            return
    _forget_with_ours(core, session, token)
    session._arrived(loaded)
    session._spent = loaded is None
    late = time.time() * 1000 - session._stored.created > LOST
    if session._status is Status.LIVE and not session._followed and late:
        session._unheard = token


def begin(
    core: "Core", session: Session, token: LegacyToken, fits: Callable[[Legacy], bool] | None = None
) -> None:
    """Start from what the legacy cookie holds, as far as it ``fits``."""
    session._arrived(None)
    inherited = core.moving.read(token, core.codec, fits)
    if inherited is not None:  # else it is left alone, as a correction of the options may make it readable
        _forget_with_ours(core, session, token)
        session._inherit(*inherited)


def move(core: "Core", session: Session) -> Steps[None]:
    """Put what the legacy cookie held into the store, or find that another request has done so."""
    token, stored = session._came_with, session._stored
    assert isinstance(token, LegacyToken)
    noted = yield from _note(core, token)
    if noted is None:  # it was moved, or is being moved, or who was about to was stopped
        loaded = yield from core.find(session)
        noted = None if loaded is not None else (yield from _unfinished(core, token))
        if noted is None:
            session._rebase(loaded)
            return
    created: Created | None = yield core.store.create(
        session._id,
        fields=stored.fields,
        user=stored.user,
        device=stored.device,
        idle=core.idle,
        lifetime=core.lifetime,
    )
    if created is None:
        session._rebase((yield from core.find(session)))
        return
    if (late := created.created - noted) > _window(core):
        _log.error(
            "a legacy cookie was not moved, as it took %.0f s: did this server stand still, or are the "
            "clocks of the store's servers apart?",
            late / 1000,
        )
        yield core.store.destroy(session._id, grace=0, user=stored.user)
        session._rebase(None)
        return
    session._came_to_life(created)
    session._cookie = core.cookie_of(session, token, created.left)
    tell(core.events.created, session._id, session._stored)


def _forget_with_ours(core: "Core", session: Session, token: LegacyToken) -> None:
    if token.cookie.keep:
        core.moving.kept(token.cookie, https=session._https)
    else:
        session._farewells = (*core.moving.farewells(token.cookie, https=session._https),)


def _note(core: "Core", token: LegacyToken) -> Steps[int | None]:
    """Note that the cookie is moved, and when; ``None`` if that was noted before."""
    kept = token.signed.left + _SKEW
    created: Created | None = yield core.store.create(
        store_id(token.signed.mark), fields={}, user=None, idle=kept, lifetime=kept
    )
    return None if created is None else created.created


def _unfinished(core: "Core", token: LegacyToken) -> Steps[int | None]:
    """When it was noted that the cookie is moved, if a session that is not there may still be made."""
    note = yield from _find_note(core, token)
    return note.created if note is not None and (yield from _is_young(core, note)) else None


def _find_note(core: "Core", token: LegacyToken) -> Steps[Loaded | None]:
    kept = token.signed.left + _SKEW
    note: Loaded | None = yield core.store.load(store_id(token.signed.mark), idle=kept, step=kept + 1)
    return note


def _is_young(core: "Core", note: Loaded) -> Steps[bool]:
    """Whether the session of a note may still be made."""
    # Only the store knows by its clock: it makes nothing whose deadline has passed.
    id = store_id(core.tokens.mint())
    end = Inherited(note.created, note.created + _window(core), id)
    created: Created | None = yield core.store.create(
        id, fields={}, user=None, idle=1, lifetime=1, inherit=end
    )
    return created is not None


def _window(core: "Core") -> int:
    """Milliseconds after the note in which its session may be made."""
    return min(_UNFINISHED, core.idle)


def _host(cookie: Cookie) -> str | None:
    return cookie.domain.lower().lstrip(".") if cookie.domain is not None else None
