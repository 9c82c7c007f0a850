"""Which scope the running code belongs to: of one cluster, in the current context."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock
from weakref import ref

from scalekit._forks import renew_in_children
from scalekit.database.blocks import Block, innermost
from scalekit.database.levels import Consistency
from scalekit.database.scope import Scope
from scalekit.database.tokens import Token, latest


class Scopes:
    """The current scope of one cluster, in the current context."""

    def __init__(self) -> None:
        self._current: ContextVar[Scope | None] = ContextVar("scalekit.database.scope", default=None)
        self._block: ContextVar[Block | None] = ContextVar("scalekit.database.block", default=None)
        # Outside every request the process is its own visitor: a script reads what it wrote.
        self.process = Scope()
        self._newest: Token | None = None
        self._lock = RLock()  # a session that is collected meanwhile may commit in this very thread
        renew_in_children(self)
        # Never iterated but in a copy: a session that is collected meanwhile may commit in this very thread.
        self._doubtful: set[ref[Scope]] = set()

    def forked(self) -> None:
        """Locks of our own: threads of the parent process may hold the old ones for ever."""
        self._lock = RLock()
        self.process.forked()

    def current(self) -> Scope | None:
        """The scope of the running request, or ``None`` outside."""
        return self._current.get()

    def who_else(self) -> tuple[Scope, ...]:
        """Who hears of what is committed here and now, besides the scope in which the transaction began."""
        current = self._current.get()
        return (self.process,) if current is None else (current, self.process)

    def doubted(self, scopes: Iterable[Scope]) -> None:
        """These have been promised something whose position nobody knows."""
        self._doubtful.update([ref(scope) for scope in scopes])

    def heard(self, token: Token, *, asked: float | None = None) -> None:
        """The primary's log has reached ``token``.

        Args:
            token: where the log is.
            asked: when it was asked for that, on the monotonic clock; ``None`` if a commit told it.
        """
        with self._lock:
            while True:
                known = self._newest
                newest = latest(known, token)
                if known is self._newest:  # and not of one that was collected meanwhile
                    self._newest = newest
                    break
        if asked is None or not self._doubtful:
            return
        for reference in list(self._doubtful):
            self._doubtful.discard(reference)  # before, so that what comes meanwhile is not forgotten
            scope = reference()
            if scope is not None and not scope.settle(token, asked=asked):
                self._doubtful.add(reference)

    def newest_since(self, token: Token) -> Token:
        """The newest known position in the history of ``token``, at least ``token`` itself."""
        newest = self._newest
        return newest if newest is not None and newest.includes(token) else token

    def level(self, scope: Scope) -> Consistency | None:
        """What the block says that the code of ``scope`` runs in, or ``None`` outside of blocks."""
        block = innermost(self._block.get())
        return block.level if block is not None else scope.level()

    def set(self, scope: Scope) -> None:
        """``scope`` is the current one for the rest of the context."""
        self._current.set(scope)

    @contextmanager
    def enter(self, scope: Scope, *, brought: Token | None = None) -> Iterator[Scope]:
        """``scope`` is the current one inside the block.

        Args:
            scope: which has just been made.
            brought: what its visitor is to be shown, besides what is written around it.
        """
        around = self._current.get()
        reset = self._current.set(scope)
        if around is not None and brought is not None and _in_thread():
            # Frameworks run a synchronous dependency and the endpoint behind it in two threads.
            around.promise(brought)
        try:
            yield scope
        finally:
            try:
                self._current.reset(reset)
            except ValueError:  # it is left in another context, and so in another thread
                if self._current.get() is scope:
                    self._current.set(around)

    def open(self, block: Block) -> None:
        """``block`` begins, in this context."""
        block.outer = innermost(self._block.get())
        self._block.set(block)
        scope = self.current()
        if scope is not None and _in_thread():
            block.holder = scope
            scope.open(block)

    def close(self, block: Block) -> None:
        """``block`` has ended; perhaps in another context, and so in another thread."""
        if self._block.get() is block:
            self._block.set(block.outer)
        if block.holder is not None:
            block.holder.close(block)


def _in_thread() -> bool:
    """Whether this is no task's code, whose blocks its own context remembers."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False
