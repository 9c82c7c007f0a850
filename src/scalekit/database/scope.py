"""What one request knows: the visitor's token, and whether it has moved on.

The object is shared by everything that runs for the request. Child tasks and worker threads get a copy
of the context and so the same object; what they write is seen by the request, although a variable that
they set would not be.

Rules:

* What is committed in a scope is promised to the scopes around it, and to all that are open inside those: a
  child is promised whatever its parent is.
* The process hears what every scope wrote, and tells none of them.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple, Protocol
from weakref import ref

from scalekit.database.blocks import Block, strictest
from scalekit.database.levels import Consistency
from scalekit.database.promise import Promise
from scalekit.database.report import Report
from scalekit.database.tokens import Token

if TYPE_CHECKING:
    from scalekit.database.member import Member

_log = logging.getLogger("scalekit.database")


class _Pending(Protocol):
    def has_uncommitted_writes(self) -> bool: ...


class Seen(NamedTuple):
    """A transaction that read from a replica.

    Args:
        member: the replica.
        report: what it had said before, over the connection that was read over.
        began: when the transaction began, on this process's monotonic clock.
        until: when the transaction ended, on the same clock.
    """

    member: "Member"
    report: Report
    began: float
    until: float


class Scope:
    """One request, job, or whatever else reads its own writes.

    Args:
        token: what the visitor brought.
        writes: start on the primary, because this is likely to write.
        parent: the scope around it: what it was promised is promised here too, and what is written here it
            will read.
        visitor: a number of 64 bits that stands for the visitor, who keeps their replica; by default the
            parent's. ``None`` without one: nobody in particular.
    """

    def __init__(
        self,
        token: Token | None = None,
        *,
        writes: bool = False,
        parent: "Scope | None" = None,
        visitor: int | None = None,
    ) -> None:
        self.visitor: int | None = visitor if visitor is not None or parent is None else parent.visitor
        self.seen: Seen | None = None if parent is None else parent.seen
        self.writes = writes
        self.commits = 0
        self.sealed = False
        self._parent = parent
        self._advanced = self._warned = False
        self._sessions: set[ref[_Pending]] = set()
        self._blocks: tuple[Block, ...] = ()
        self._children: set[ref[Scope]] = set()
        self.forked()
        with self._lock:  # a commit may be told to it as soon as its parent knows it
            if parent is None:
                self._promise = Promise(token, now=time.monotonic())
            else:
                self._promise = parent._adopt(self, token)
            self.token: Token | None = self._promise.token

    def forked(self) -> None:
        """A lock of our own: a thread of the parent process may hold the old one for ever."""
        self._lock = RLock()  # a session that is collected meanwhile may commit in this very thread

    @property
    def advanced(self) -> bool:
        """Whether this request has committed something, or may have."""
        return self._advanced

    def advance(
        self,
        token: Token,
        *,
        began: float = -math.inf,
        confirmed: bool = True,
        also: Iterable["Scope"] = (),
        settles: object = None,
    ) -> list["Scope"]:
        """A commit of this request reached ``token``. It is one of all scopes around this one, too.

        Returns all that are promised it.

        Args:
            token: where it is in the log.
            began: when its transaction began, on the monotonic clock. What had been committed before is
                covered, even where its position was never learned.
            confirmed: false if nobody knows whether it was applied.
            also: other scopes in which it was committed.
            settles: of whom nothing is in :meth:`doubt` any more.
        """
        now = time.monotonic()

        def take(promise: Promise) -> None:
            promise.relieve(settles)
            promise.committed(token, now=now, began=began)

        return self._tell(take, also, confirmed=confirmed)

    def doubt(
        self, whose: object, place: Token, *, also: Iterable["Scope"] = (), lasting: bool = False
    ) -> list["Scope"]:
        """A statement of this request has committed something, and nobody knows yet where.

        Returns all that are promised it.

        Args:
            whose: who will know.
            place: a place in that database that is not known.
            also: other scopes in which it was committed.
            lasting: there may come more, of which nobody hears before they are told where it is.
        """
        now = math.inf if lasting else time.monotonic()
        return self._tell(lambda promise: promise.doubt(whose, place, now=now), also, confirmed=False)

    def promise(self, token: Token) -> None:
        """Whatever runs in this scope is to be shown ``token``, too."""
        now = time.monotonic()
        with self._lock:
            self._promise = self._promise.and_also(token, now=now)
            self.token = self._promise.token
        for scope in _inside([self]):
            with scope._lock:
                scope._promise = scope._promise.and_also(token, now=now)
                scope.token = scope._promise.token

    def relieve(self, whose: object, *, also: Iterable["Scope"] = ()) -> None:
        """Of ``whose``, nothing that was committed is in doubt any more."""
        self._tell(lambda promise: promise.relieve(whose), also, confirmed=None)

    def lapse(self, whose: object, also: Iterable["Scope"]) -> None:
        """``whose`` is gone without a word, and commits nothing any more."""
        now = time.monotonic()
        self._tell(lambda promise: promise.lapse(whose, now=now), also, confirmed=None)

    def settle(self, written: Token, *, asked: float) -> bool:
        """The primary's log was at ``written`` when that was asked. Whether nothing is in doubt now."""
        with self._lock:
            self._promise.settle(written, asked=asked)
            self.token, certain = self._promise.token, self._promise.is_certain
        for scope in _inside([self]):  # which were opened with the same doubts
            with scope._lock:
                scope._promise.settle(written, asked=asked)
                scope.token = scope._promise.token
        return certain

    def _tell(
        self, change: Callable[[Promise], None], also: Iterable["Scope"], *, confirmed: bool | None
    ) -> list["Scope"]:
        told = dict.fromkeys(scope for one in (self, *also) for scope in one._around())
        for scope in told:
            scope._change(change, confirmed=confirmed)
        # Each before its children are looked for: one that is opened meanwhile takes over what it was told.
        for scope in _inside(list(told)):
            if scope not in told:
                told[scope] = None
                scope._change(change, confirmed=None)
        return list(told)

    def _change(self, change: Callable[[Promise], None], *, confirmed: bool | None) -> None:
        # Threads of one request, or of a script, may commit at the same time.
        with self._lock:
            change(self._promise)
            self.token = self._promise.token
            if confirmed is None:
                return
            self.commits += confirmed
            self._advanced = True
        if self.sealed and not self._warned:
            self._warned = True  # once a request: over a websocket there may be many
            _log.warning(
                "a transaction was committed after the response headers had left, so the visitor's cookie "
                "could not be updated and their next request may miss this write on a replica; commit "
                "before the response is sent (in FastAPI in the endpoint, or by Depends(..., "
                "scope='function'); in a WSGI application before the first part of a streamed body)"
            )

    def _around(self) -> Iterator["Scope"]:
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope._parent

    def _adopt(self, child: "Scope", token: Token | None) -> Promise:
        """What ``child`` is promised, besides ``token``; it hears of what will be promised here."""
        with self._lock:
            self._children.add(ref(child, self._disown))
            return self._promise.and_also(token, now=time.monotonic())

    def _disown(self, child: "ref[Scope]") -> None:
        with self._lock:
            self._children.discard(child)

    def counted(self) -> None:
        """A commit of this request happened, on a single server, where nobody needs its position."""
        if self._parent is not None:
            self._parent.counted()
        with self._lock:
            self.commits += 1

    def saw(self, seen: Seen) -> None:
        """A transaction has read from a replica. What it was shown, later ones are shown too."""
        if self.visitor is not None:
            self.seen = seen
        if self._parent is not None:
            self._parent.saw(seen)

    def seal(self) -> None:
        """The response headers have left; a commit from here on can no longer be told to the visitor."""
        self.sealed = True

    def open(self, block: Block) -> None:
        """A thread of this request has entered ``block``; all of its threads count as inside it."""
        with self._lock:
            self._blocks = (*self._blocks, block)

    def close(self, block: Block) -> None:
        """``block`` has ended."""
        with self._lock:
            self._blocks = tuple(one for one in self._blocks if one is not block)

    def level(self) -> Consistency | None:
        """What the blocks say that threads of this request are in."""
        if self._blocks:
            return strictest(self._blocks)
        return None if self._parent is None else self._parent.level()

    def watch(self, session: _Pending) -> None:
        """``session`` was opened for this request."""
        with self._lock:
            self._sessions.add(ref(session, self._forget))
        if self._parent is not None:
            self._parent.watch(session)

    def has_uncommitted_writes(self) -> bool:
        """Whether a session of this request holds changes that a commit may still make visible."""
        with self._lock:  # a worker thread may open another session meanwhile
            references = list(self._sessions)
        sessions = [reference() for reference in references]
        return any(session is not None and session.has_uncommitted_writes() for session in sessions)

    def _forget(self, session: "ref[_Pending]") -> None:
        with self._lock:
            self._sessions.discard(session)


def _inside(scopes: Iterable[Scope]) -> Iterator[Scope]:
    """All scopes that are open inside of ``scopes``."""
    for scope in scopes:
        with scope._lock:
            children = [reference() for reference in list(scope._children)]
        for child in children:
            if child is not None:
                yield child
                yield from _inside([child])
