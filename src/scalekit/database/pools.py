"""The connections to one server for one purpose: an engine, and where each of its connections is known.

Rules:

* Every connection is known from the moment its socket is open, so that one that will never answer can be
  cut: whoever waits on it gets an error at once and can go elsewhere.
* A connection is used by the process, and on the event loop, that opened it.
"""

import math
from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, QueuePool

from scalekit._forks import renew_in_children
from scalekit._steps import Steps
from scalekit.database.absence import tell_absence
from scalekit.database.backends.protocol import Backend
from scalekit.database.commits import count_commits, tell_outcomes
from scalekit.database.conflicts import tell_conflicts
from scalekit.database.drivers.protocol import Driver
from scalekit.database.engines import (
    AnyEngine,
    close_idle,
    keep_to_loop,
    make_engine,
    sync_engine,
    watch,
    without_mode,
)
from scalekit.database.links import Links
from scalekit.database.refusals import tell_refusals
from scalekit.types import Colour


class Pool:
    """The connections to one server for one purpose.

    Args:
        engine: that opens them.
        driver: breaks them; ``None`` for one that we do not know.
    """

    def __init__(self, engine: AnyEngine, driver: Driver | None) -> None:
        self.engine, self.sync = engine, sync_engine(engine)
        self.links, self._driver = Links(), driver

    def cut(self, *, opened_before: float = math.inf) -> None:
        """Break the connections, those opened before that moment (monotonic): no answer is to be expected."""
        if self._driver is not None:
            self.links.cut(self._driver, opened_before=opened_before)

    def close_idle(self) -> Steps[None]:
        """Close every connection that is not in use, and the others when they are given back."""
        yield close_idle(self.engine)

    def forked(self) -> None:
        """Leave the connections to the process, or the event loop, that opened them."""
        self.sync.dispose(close=False)
        self.links.forget()


def lone_pool(
    url: URL,
    *,
    colour: Colour,
    options: dict[str, Any],
    name: str,
    backend: Backend | None,
    driver: Driver | None,
) -> Pool:
    """The connections to a server that has nobody beside it, for every purpose.

    Args:
        url: where it is.
        colour: of the engine.
        options: for ``create_engine``.
        name: of the server, for messages.
        backend: what kind of server it is; ``None`` for one that cannot have replicas.
        driver: how its driver does what SQLAlchemy has no word for; ``None`` for one that we do not know.
    """
    pool = Pool(make_engine(url, colour=colour, options=options), driver)
    if driver is not None and backend is not None:
        tell_outcomes(pool.sync, driver, backend, name=name)
        tell_refusals(pool.sync, driver, backend, name=name)
    if backend is not None:
        tell_absence(pool.sync, driver, name=name)
    count_commits(pool.sync)
    if isinstance(pool.sync.pool, QueuePool):  # others, such as an in-memory SQLite's, keep one for ever
        renew_in_children(pool)
        keep_to_loop(pool.sync)
    return pool


def watched_pool(
    url: URL,
    *,
    colour: Colour,
    options: dict[str, Any],
    name: str,
    backend: Backend,
    driver: Driver,
    connect_timeout: float,
    read_only: bool,
    promoted: Callable[[], None] | None = None,
    cancelled: Callable[[], None] | None = None,
    introduce: Callable[[Any, Links], None] | None = None,
) -> Pool:
    """The connections to one server of several, for one purpose.

    Args:
        url: where it is.
        colour: of the engine.
        options: for ``create_engine``.
        name: of the server, for messages.
        backend: what kind of server it is.
        driver: how its driver does what SQLAlchemy has no word for.
        connect_timeout: seconds that opening a connection may take.
        read_only: whether the connections must refuse to write.
        promoted: called when a connection for reading hears that its server is no replica.
        cancelled: called when a replica has cancelled what was read over a connection.
        introduce: asks over a new connection who is there; raises if it is not to be used. ``None``: the
            connections are for questions only, whose answers tell of all that.
    """
    options = without_mode(options) if read_only else options
    pool = Pool(make_engine(url, colour=colour, options=options), driver)
    watch(
        pool.sync,
        backend,
        driver,
        pool.links,
        name=name,
        connect_timeout=connect_timeout,
        read_only=read_only,
        promoted=promoted,
        introduce=None if introduce is None else lambda connection: introduce(connection, pool.links),
    )
    if cancelled is not None:
        tell_conflicts(pool.sync, driver, backend, name=name, met=cancelled)
    return pool


def capacity(options: dict[str, Any]) -> int | None:
    """How many connections a pool made with ``options`` may have; ``None``: as many as are asked for."""
    size, overflow = options.get("pool_size", 5), options.get("max_overflow", 10)
    limited = issubclass(options.get("poolclass", QueuePool), QueuePool)
    return size + overflow if limited and size > 0 and overflow >= 0 else None
