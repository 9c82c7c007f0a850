"""What is known of a session during one request, and how that changes. Rules:

===========  ==================================================================================
``UNLOADED``  a valid cookie may have come, the store was not asked yet
``NEW``       no session: none was asked for, or it is over. The first value starts one
``LIVE``      the store has it. Changes are saved to it, if it is still there
``ENDED``     another request ended it a moment ago (log-out, log-in). Nothing is saved, and no
              cookie is sent that could replace the one which that request sent; only ``login()``
              starts a new one
``UNKNOWN``   the store did not answer when it was asked. It reads as empty (``on_error="anonymous"``)
              or not at all; it cannot be changed, as there may well be a session
===========  ==================================================================================

After the response headers have left (``sealed``) no cookie can follow, so that a session which is not
``LIVE`` cannot be changed any more, and no id can change.

A session that another request has just rotated is *followed* to its new id, and stays ``LIVE``. Its id does
not change once more: of two answers on their way, each with a cookie, the wrong one could arrive last.

A save takes what is ``Pending`` at one moment. What another task of the request asks for while the save is
under way stays pending, for the next one. A save that failed leaves everything pending.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from scalekit.errors import BackendError, SessionCommitted, SessionError
from scalekit.sessions.codec import PLAIN, Codec
from scalekit.sessions.owner import MAX_DEVICE
from scalekit.sessions.store import Created, Loaded
from scalekit.sessions.tokens import store_id
from scalekit.sessions.values import Delta, Values, late

if TYPE_CHECKING:
    from scalekit.sessions._core import Core


class Status(Enum):
    UNLOADED = auto()
    NEW = auto()
    LIVE = auto()
    ENDED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, eq=False)
class Turn:
    """How the id is to change at the next save. Each call that asks for it is a turn of its own."""

    how: Literal["rotate", "login", "logout"]


class Pending(NamedTuple):
    """What a save has to do, as it was at one moment."""

    values: Values
    delta: Delta
    turn: Turn | None
    user: bytes | None
    device: bytes | None
    inherits: bool
    minted: str | None

    @property
    def how(self) -> Literal["rotate", "login", "logout"] | None:
        return None if self.turn is None else self.turn.how

    def __bool__(self) -> bool:
        return self.turn is not None or self.minted is not None or bool(self.delta)


class Leaving(NamedTuple):
    """The id that a session has left, while the store has not confirmed that it has ended. Until then the
    visitor need not have the ``cookie`` of the new one, if there is one here."""

    old: str
    owner: bytes | None
    version: int
    pending: Pending
    cookie: bytes | None


_NOTHING = Loaded()


class State:
    """One session in one request: the side that the shells and the core see of a ``Session``."""

    persistent = True
    accessed = False

    # What most requests leave as it is.
    _known_as: str | None = None
    _user: bytes | None = None
    _device: bytes | None = None
    _followed = False
    _turn: Turn | None = None
    _inherits = True
    _minted: str | None = None
    _leaving: Leaving | None = None
    _unheard: str | None = None  # its token, if the answer that was to bring the cookie seems to be lost
    _cookie: bytes | None = None
    _sealed = False
    _fault: BackendError | None = None
    _readable = True
    _refused = False

    # What only a visitor with a cookie of another middleware has (see _moving).
    _moves = False  # the cookie's values are still to be stored
    _spent = False  # the cookie was moved before, and that session is over
    _farewells: tuple[bytes, ...] = ()  # what deletes the cookie

    # When the cookie leaves, in the terms of what is answered.
    _departed = "the response headers have left"
    _start = "the response starts"

    def __init__(self, token: str | None, *, https: bool, codec: Codec = PLAIN) -> None:
        self._https = https
        self._came_with = token
        self._status = Status.UNLOADED if token is not None else Status.NEW
        self._codec = codec
        self._values = Values(codec=codec)
        self._stored = _NOTHING

    _core: "Core"

    @property
    def _id(self) -> str:
        """What the store knows the session by; worked out when it is asked for the first time."""
        if self._known_as is None:
            # Of a legacy cookie's token its text alone: what it carries is not to be remembered.
            self._known_as = "" if self._came_with is None else store_id(str(self._came_with))
        return self._known_as

    @_id.setter
    def _id(self, id: str) -> None:
        self._known_as = id

    def _next_origin(self) -> str:
        """The id that the session which the visitor has when the response arrives will have begun with."""
        goes_on = self._turn is None or self._turn.how == "rotate"
        if goes_on and (self._moves or self._status is Status.LIVE):
            return self._stored.origin
        self._changing()
        if self._sealed:
            raise SessionCommitted(f"{self._departed}: it is too late to change the session id")
        if self._minted is None:
            self._minted = self._core.tokens.mint()
        return store_id(self._minted)

    def _load_now(self) -> None:
        """Fetch the session, where that can be done without awaiting."""
        raise SessionError("the session is not loaded yet: `await load(request)` first (lazy=True)")

    def _agent(self) -> str | None:
        """The ``User-Agent`` of the request."""
        return None

    def _offer(self, key: str, make: Callable[[], Any]) -> Any:
        """The value of ``key``, or a default that becomes it when it is changed in place."""
        self._ready()
        return self._values.offer(key, make)

    def _called(self, device: str | None) -> bytes | None:
        name = self._agent() if device is None else device
        return name[:MAX_DEVICE].encode(errors="replace") if name else None

    @property
    def _set_cookies(self) -> list[bytes]:
        """What the response sends; ours last, in case that something confuses it with one that is deleted."""
        if self._cookie is not None:
            return [*self._farewells, self._cookie]
        return [*self._farewells] if self._spent else []

    def _ready(self) -> None:
        self.accessed = True
        if self._status is Status.UNLOADED:
            self._load_now()
        if self._status is Status.UNKNOWN and not self._readable:
            self._refuse()

    def _changing(self) -> None:
        self._ready()
        if self._status is Status.UNKNOWN:
            self._refuse()
        ending = self._turn is not None and self._turn.how == "logout"
        if self._sealed and (self._status is not Status.LIVE or ending):
            self._too_late()

    def _too_late(self) -> NoReturn:
        raise SessionCommitted(
            f"{self._departed}, so this visitor cannot be given a session any more; "
            f"set a value before {self._start}"
        )

    def _refuse(self) -> NoReturn:
        assert self._fault is not None
        self._refused = True
        raise self._fault

    def _turning(self, what: str) -> None:
        self._changing()
        if self._sealed:
            raise SessionCommitted(f"{self._departed}: it is too late to {what}")

    def _arrived(self, loaded: Loaded | None) -> None:
        """The store has answered."""
        self._recovered()
        if loaded is None:
            self._status = Status.NEW
        elif loaded.ended:
            self._status = Status.ENDED
        else:
            self._status = Status.LIVE
            self._stored = loaded
            self._values = Values(loaded.fields, self._codec)
            self._user, self._device = loaded.user, loaded.device

    def _inherit(self, fields: dict[bytes, bytes], user: bytes | None) -> None:
        """The store knows nothing of the visitor; another middleware's cookie does."""
        device = self._called(None) if user is not None else None
        self._stored = Loaded(fields=fields, user=user, device=device, origin=self._id)
        self._values = Values(fields, self._codec)
        self._user, self._device = user, self._stored.device
        self._moves = True

    def _came_to_life(self, created: Created) -> None:
        """The store has what was inherited; changes are still pending."""
        self._status, self._moves = Status.LIVE, False
        self._stored = replace(self._stored, created=created.created, deadline=created.deadline)

    def _rebase(self, loaded: Loaded | None) -> None:
        """Another request has moved what was inherited, and ended it if there is none."""
        self._moves = False
        if loaded is None or loaded.ended:
            loaded, self._status = Loaded(ended=True), Status.ENDED
        else:
            self._status = Status.LIVE
        self._values.adopt(late(self._values.delta(), self._values.fields, loaded.fields))
        self._stored = loaded
        if self._turn is None:
            self._user, self._device = loaded.user, loaded.device

    def _follow(self, successor: str) -> None:
        """Another request has given the session this id."""
        self._id, self._followed = successor, True

    def _missed(self, error: BackendError, *, readable: bool) -> None:
        """The store has not answered what the session is. If ``readable``, it reads as empty."""
        self._status, self._readable = Status.UNKNOWN, readable
        self._fault = error

    def _failed(self, error: BackendError) -> None:
        """The store has not answered to a save."""
        self._fault, self._refused = error, True
        self._minted = None  # whether the store has a session of this name by now is unknown

    def _recovered(self) -> None:
        self._fault, self._refused = None, False

    def _raised(self, error: BaseException) -> bool:
        """Whether the session has raised ``error``, or every error of a group."""
        if isinstance(error, BaseExceptionGroup):
            return all(map(self._raised, error.exceptions))
        return error is self._fault

    def _unchanged(self) -> bool:
        """Whether there is nothing to save for certain: what most requests can tell at once."""
        quiet = self._minted is None and not self._moves and self._unheard is None
        return quiet and self._turn is None and self._leaving is None and self._values.unchanged

    def _unsaved(self) -> bool:
        return not self._unchanged() and bool(self._pending())

    def _pending(self) -> Pending:
        delta = self._values.delta()
        return Pending(
            self._values, delta, self._turn, self._user, self._device, self._inherits, self._minted
        )

    def _settled(self, pending: Pending) -> None:
        """The store has what was pending."""
        pending.values.settle(pending.delta)
        self._stored = replace(self._stored, fields=pending.values.fields)
        self._turned(pending)

    def _moved(self, pending: Pending, id: str, created: Created, origin: str) -> None:
        """The store has the session under this id now."""
        self._id, self._status, self._followed = id, Status.LIVE, False
        if self._minted == pending.minted:
            self._minted = None
        self._stored = Loaded(
            created=created.created,
            deadline=created.deadline,
            user=pending.user,
            device=pending.device,
            origin=origin,
        )
        self._settled(pending)

    def _ended(self, pending: Pending) -> None:
        """Another request has ended the session; nothing of it is left."""
        self._status, self._stored = Status.ENDED, Loaded()
        if self._turned(pending):
            self._values, self._user, self._device = Values(codec=self._codec), None, None

    def _shares(self, key: str) -> bool:
        """Whether others can see the value of ``key`` as this request does."""
        same = self._inherits and self._user == self._stored.user
        there = self._status is Status.LIVE or self._moves
        return there and same and not self._values.differs(key)

    def _learned(self, values: Values, key: str, data: bytes | None) -> None:
        """The store has these bytes for ``key`` of the session that had ``values``."""
        self._recovered()
        values.learn(key, data)
        if values is self._values:  # or another task has logged in or out meanwhile
            self._stored = replace(self._stored, fields=values.fields)

    def _gone(self, values: Values) -> None:
        """Another request has ended the session that had ``values`` while this one was asking for it."""
        if values is not self._values:
            return
        self._status, self._stored = Status.ENDED, Loaded()
        if self._turn is None or self._turn.how != "login":  # who logs in goes on, as in any other save
            self._values = Values(codec=self._codec)
            # The user stays known until the request ends: somebody else who logs in gets nothing of theirs.

    def _left(self, pending: Pending) -> None:
        """The visitor has logged out; what is set from then on is a new session."""
        self._status, self._stored = Status.NEW, Loaded()
        self._turned(pending)

    def _turned(self, pending: Pending) -> bool:
        """What was asked for is done, unless something else was asked for meanwhile."""
        if self._turn not in (None, pending.turn):
            return False
        self._turn, self._inherits = None, True
        return True

    def _forget(self) -> None:
        """Drop every change, as for a response that failed."""
        self._values = Values(self._stored.fields, self._codec)
        self._user, self._device = self._stored.user, self._stored.device
        self._turn, self._inherits, self._minted = None, True, None

    def _close(self) -> None:
        """The request is over.

        Raises:
            SessionCommitted: there are changes that nobody saved.
        """
        if self.accessed and self._sealed and self._fault is None and self._unsaved():
            raise SessionCommitted(
                "the session was changed after the response headers had left, and not saved; "
                "change it earlier, or call session.save() after the change (`await` it under ASGI)"
            )
