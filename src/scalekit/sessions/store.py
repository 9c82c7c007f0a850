"""What a session store is: six operations, each atomic on one session.

Rules, which :func:`scalekit.testing.check_store` checks:

* Only ``create`` brings a session into being. ``save`` on one that is not there changes nothing and says so.
* ``save`` writes the fields that it was given and touches no other, so that concurrent changes merge.
* ``swap`` changes one field if it is as the caller has seen it: counters and one-shot values are made of it.
* A session lives until ``idle`` has passed since it was last seen, and never beyond its deadline.
  Nothing moves the deadline of a session.
* ``destroy`` ends a session at once. For ``grace`` its id answers that it *ended*, and which session it went
  on as if that was said: this tells a request that was under way when it ended from a browser that comes back
  later. Destroying twice is destroying once: what the first said stays.
* A session that another one was rotated to notes when it is first loaded as its ``own``: with the id that the
  browser came with. It remembers that when it has ended, too.
* A session that belongs to a user is listed under that user from before ``create`` returns until it has
  been destroyed, or its deadline has passed. What lives is listed; what is listed may be dead of idleness.
* What cannot be read as a session is none: it is neither an error nor changed.

Times are integers in milliseconds, moments since 1970 by the store's clock: servers need not agree on theirs.
"""

from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from scalekit.types import Colour

T = TypeVar("T")
Answer: TypeAlias = T | Awaitable[T]
"""A value from a synchronous store, an awaitable of it from an asynchronous one."""


class Rotation(NamedTuple):
    """What became of the answer that was to bring the id of a session which another one was rotated to.

    Attributes:
        heard: whether the session has been loaded as its ``own``.
        since: milliseconds since that has first happened; as long as it has not, since it was created.
        token: what ``create`` was given; empty as soon as it was heard of.
    """

    heard: bool
    since: int
    token: bytes = b""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session as the store has it. Others may hold it, too, so nobody changes it.

    Attributes:
        fields: encoded values by encoded key.
        created: when it was created.
        deadline: when it ends at the latest.
        seen: when it was last seen: created, saved, or loaded at least ``step`` after the time before.
        version: another number whenever it is saved.
        user: encoded id of who is logged in, ``None`` for nobody.
        device: what it was created from, as its user would call it; ``None`` if that was not said.
        ended: destroyed a moment ago; there is nothing else to it but its successor.
        successor: the id under which a session that has ended went on, if it did.
        alias: whether it was rotated, so that its id may stand for the successor.
        origin: the id of the session that this one has inherited from, through all its rotations; or its own.
        rotation: of one that was created to ``inherit``, also when it is an alias by now: whether its browser
            has shown that it has the id. Nobody needs it of what was loaded as its ``own``.
    """

    fields: Mapping[bytes, bytes] = field(default_factory=dict)
    created: int = 0
    deadline: int = 0
    seen: int = 0
    version: int = 0
    user: bytes | None = None
    device: bytes | None = None
    ended: bool = False
    successor: str | None = None
    alias: bool = False
    origin: str = ""
    rotation: Rotation | None = None


class Inherited(NamedTuple):
    """What a session keeps of the one that it was before it was rotated.

    ``token`` is its own token, for nobody but who has the one from before: some bytes, to the store.
    """

    created: int
    deadline: int
    origin: str
    token: bytes = b""


class Created(NamedTuple):
    """When a session was created, when it ends at the latest, and how long that is from now."""

    created: int
    deadline: int
    left: int


class Swapped(NamedTuple):
    """Whether the field was as expected, and so was changed; if not, what it is (``None``: not there)."""

    done: bool
    found: bytes | None = None


class BoundStore(Protocol):
    """A store in one colour. ``id`` is 64 hexadecimal digits, never a token.

    Every operation may raise :class:`~scalekit.errors.BackendError`.
    """

    def load(self, id: str, *, idle: int, step: int, own: bool = False) -> Answer[Loaded | None]:
        """The session, or ``None``. If it was last seen ``step`` ago or longer, it is seen now, and extended
        to ``idle`` from now. ``own`` says that the browser came with this id.
        """
        ...

    def save(
        self, id: str, *, changed: Mapping[bytes, bytes], removed: Collection[bytes], idle: int
    ) -> Answer[bool]:
        """Set and remove fields, and extend the session to ``idle`` from now; ``False`` if there is none."""
        ...

    def swap(
        self, id: str, name: bytes, *, expected: bytes | None, value: bytes | None, idle: int
    ) -> Answer[Swapped | None]:
        """Set the field to ``value`` (``None`` removes it) if it is ``expected`` (``None``: not there), and
        extend the session to ``idle`` from now. A field that is not as expected changes nothing. ``None`` if
        there is no session.
        """
        ...

    def create(
        self,
        id: str,
        *,
        fields: Mapping[bytes, bytes],
        user: bytes | None,
        idle: int,
        lifetime: int,
        inherit: Inherited | None = None,
        device: bytes | None = None,
    ) -> Answer[Created | None]:
        """A new session that ends ``lifetime`` from now at the latest, listed under ``user`` if it has one.

        ``inherit`` gives it the creation time, the deadline and the origin of another instead. ``None`` if
        the id is taken, or the deadline has passed.
        """
        ...

    def destroy(
        self,
        id: str,
        *,
        grace: int,
        successor: str | None = None,
        alias: bool = False,
        user: bytes | None = None,
        version: int | None = None,
    ) -> Answer[Loaded | None]:
        """End the session and return what it was at the end; ``None`` if there was none.

        Of one that had ended before, this is what ``load`` gives. So it is of one that lives on, because it
        was saved since it had the ``version`` that is given.

        Args:
            grace: for how long the id answers that it ended.
            successor: the id that it goes on under.
            alias: whether the session was rotated.
            user: whose it is, as far as the caller knows: it is listed there no longer, also if it was dead.
            version: what the caller has seen of it; ``None`` ends it anyhow.
        """
        ...

    def listed(self, user: bytes) -> Answer[list[str]]:
        """The ids of the sessions of ``user``, in no order."""
        ...


@runtime_checkable
class Store(Protocol):
    """Where sessions live, in whichever colour the application has.

    A store of your own can be one class: ``using`` returns ``self``, and the operations are ``async def``
    for ASGI or plain methods for WSGI.
    """

    def using(self, colour: Colour) -> BoundStore:
        """The store in one colour; called once, at start-up.

        Raises:
            WrongColour: it has only the other one.
        """
        ...
