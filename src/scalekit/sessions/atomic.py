"""Changes of one value that no other request comes between: ``incr``, ``append`` and ``take``.

They are stored at once, each with one round trip, whatever becomes of the response. Rules:

* A change is computed from what was last known of the value, and stored if the store still has exactly that;
  otherwise it is computed anew from what the store has. Of several, all happen, one after the other. Each
  attempt that fails means that another one has succeeded, so somebody always gets on (lock-free, as in
  Herlihy, *Wait-free synchronization*, 1991).
* What a legacy cookie holds others see too, as they come with the same one: it is moved first (see
  :mod:`scalekit.sessions._moving`).
* What nobody else can see is changed in this request alone, and stored with it: the values of a session that
  is not there yet, or is over; of one that is about to be somebody else's, as who knows its id must not read
  what belongs to who logs in; and a value that this request has itself changed before, as it will overwrite
  whatever the store has.
"""

from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, localcontext
from typing import Any, TypeAlias, TypeVar

from scalekit._steps import Steps
from scalekit.errors import BackendError, BackendUnavailable, SessionError, SessionValueError
from scalekit.sessions._core import Core
from scalekit.sessions._moving import move
from scalekit.sessions.session import Session
from scalekit.sessions.store import Swapped
from scalekit.sessions.values import MISSING, Delta, check_size, name_of

T = TypeVar("T")
Number = TypeVar("Number", int, float, Decimal)

Change: TypeAlias = Callable[[Any], tuple[Any, T]]
"""Makes a new value and a result of an old one; ``MISSING`` stands for none in both."""

_ATTEMPTS = 1000
_NUMBERS = (int, float, Decimal)
# For Decimal: all digits, or an error.
_EXACT = Context(prec=1000, traps=[Inexact, InvalidOperation, Overflow])


def increment(key: str, by: Any) -> Change[Any]:
    """Add ``by``; the result is the sum."""

    def change(value: Any) -> tuple[Any, Any]:
        value = 0 if value is MISSING else value
        for number in (value, by):
            if type(number) not in _NUMBERS:
                kind = type(number).__qualname__
                raise SessionValueError(key=key, reason=f"incr() adds int, float and Decimal, not {kind}")
        try:
            with localcontext(_EXACT):
                value += by
        except (TypeError, ArithmeticError):
            kinds = f"{type(value).__qualname__} and {type(by).__qualname__}"
            raise SessionValueError(key=key, reason=f"{kinds} do not add up without loss") from None
        return value, value

    return change


def extend(key: str, items: tuple[Any, ...]) -> Change[int]:
    """Add ``items`` to the end of a list; the result is its length."""

    def change(value: Any) -> tuple[Any, int]:
        value = [] if value is MISSING else value
        if type(value) is not list:
            kind = type(value).__qualname__
            raise SessionValueError(key=key, reason=f"append() needs a list, and this is a {kind}")
        value = [*value, *items]
        return value, len(value)

    return change


def removal(default: Any) -> Change[Any]:
    """Remove the value; the result is what it was."""
    return lambda value: (MISSING, default if value is MISSING else value)


def update(core: Core, session: Session, key: str, change: Change[T]) -> Steps[T]:
    """Make ``change`` of the value of ``key``, alone.

    Raises:
        SessionError: sessions are in cookies, so that no server sees both of two requests.
        SessionValueError, SessionTooLarge: the new value cannot be stored; nothing has changed.
        SessionCommitted: the response headers have left, and there is no session to change.
        BackendError: the store failed.
    """
    if not core.stored:
        raise SessionError(
            "incr(), append() and take() are not possible with CookieStore, as no server sees both of two "
            "requests; keep sessions in a store such as RedisStore, or change the value as in a dictionary"
        )
    name = name_of(key)
    yield from core.load(session)
    session._changing()
    for _ in range(_ATTEMPTS):
        values = session._values
        if not session._shares(key):
            value, result = change(values.get(key) if key in values else MISSING)
            if value is not MISSING:
                values.put(key, value)
            elif key in values:
                values.drop(key)
            return result
        if session._moves:
            yield from _move(core, session)
            continue
        before, value = values.stored(key)
        value, result = change(value)
        after = None if value is MISSING else values.encode(key, value)
        if after is None and before is None:
            return result  # nothing was there to be removed
        if after is not None:
            check_size(values.fields, Delta({name: after}, set()), core.max_size)
        try:
            swapped: Swapped | None = yield core.store.swap(
                session._id, name, expected=before, value=after, idle=core.idle
            )
            if swapped is None and not (yield from core.follow(session)):
                session._gone(values)
        except BackendError as error:
            session._failed(error)
            session._refuse()
        if swapped is not None:
            session._learned(values, key, after if swapped.done else swapped.found)
            if swapped.done:
                return result
    message = f"{key!r} was changed by others {_ATTEMPTS} times while this request tried to"
    session._failed(BackendUnavailable(message, backend="the session store"))
    session._refuse()


def _move(core: Core, session: Session) -> Steps[None]:
    try:
        yield from move(core, session)
    except BackendError as error:
        session._failed(error)
        session._refuse()
    session._recovered()
