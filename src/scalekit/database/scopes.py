"""Which scope the running code belongs to: of one cluster, in the current context."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from scalekit._forks import renew_in_children
from scalekit.database.scope import Scope
from scalekit.database.tokens import Token, latest


class Scopes:
    """The current scope of one cluster, in the current context."""

    def __init__(self) -> None:
        self._current: ContextVar[Scope | None] = ContextVar("scalekit.database.scope", default=None)
        self._primary: ContextVar[bool] = ContextVar("scalekit.database.primary", default=False)
        # Outside every request the process is its own visitor: a script reads what it wrote.
        self.process = Scope()
        renew_in_children(self.process)
        self._newest: Token | None = None

    def current(self) -> Scope | None:
        """The scope of the running request, or ``None`` outside."""
        return self._current.get()

    def heard(self, token: Token) -> None:
        """The primary's log has reached ``token``."""
        self._newest = latest(self._newest, token)

    def newest_since(self, token: Token) -> Token:
        """The newest known position in the history of ``token``, at least ``token`` itself."""
        newest = self._newest
        return newest if newest is not None and newest.includes(token) else token

    def on_primary(self) -> bool:
        """Whether the code runs inside a :meth:`primary` block."""
        return self._primary.get()

    def set(self, scope: Scope) -> None:
        """``scope`` is the current one for the rest of the context."""
        self._current.set(scope)

    @contextmanager
    def enter(self, scope: Scope) -> Iterator[Scope]:
        """``scope`` is the current one inside the block."""
        reset = self._current.set(scope)
        try:
            yield scope
        finally:
            self._current.reset(reset)

    @contextmanager
    def primary(self) -> Iterator[None]:
        """Sessions that begin a transaction inside the block use the primary."""
        reset = self._primary.set(True)
        try:
            yield
        finally:
            self._primary.reset(reset)
