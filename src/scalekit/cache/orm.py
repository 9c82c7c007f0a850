"""What can be watched, and how its events are heard.

Rules:

* Sessions are known by their class, their sessionmaker or one by one; engines by all of their connections.
  ``scoped_session`` is also asked for the session that it has here, in each call of a cached function.
* A cluster of ``scalekit.database`` is known by what it has: ``event_target`` for its sessions, and
  ``on_connection`` for those who want to know each of its Core connections.
* Every INSERT, UPDATE and DELETE is seen where it is executed, so it counts wherever it comes from: a flush,
  a bulk operation, Core on the session or on its connection (see :mod:`scalekit.cache.changes`). What is not
  seen is what goes past SQLAlchemy, and what triggers do.

What happens then is said in :mod:`scalekit.cache.watcher` and :mod:`scalekit.cache.marking`.
"""

from typing import Any, get_args

from scalekit._options import in_colour
from scalekit.cache._core import Core
from scalekit.cache.backend import Backend
from scalekit.cache.marking import Marking, Unreachable
from scalekit.cache.sessions import replicated
from scalekit.cache.watcher import Watcher
from scalekit.errors import ConfigurationError, MissingExtra
from scalekit.types import Colour

try:
    from sqlalchemy import Engine, exc
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
    from sqlalchemy.orm import scoped_session, sessionmaker

    from scalekit._sqlalchemy import session_target
except ImportError:
    raise MissingExtra("sqlalchemy", needed_by="scalekit.cache with SQLAlchemy") from None


def watch(target: Any, *, core: Core, backend: Backend, unreachable: Unreachable = "commit") -> None:
    """See :meth:`scalekit.cache.Cache.watch`."""
    if unreachable not in get_args(Unreachable):
        raise ConfigurationError(f"unreachable={unreachable!r}; use 'commit' or 'refuse'")
    watched = getattr(target, "event_target", target)
    colour = _colour(watched)
    if colour is not None:  # the wrong one shows here, not at the first commit
        in_colour(backend, colour, taker=f"cache.watch({type(watched).__name__})")
    key = _engine(watched) or session_target(watched)
    if key in core.watched:
        return
    watcher = Watcher(core, Marking(core.invalidation, core.runtimes, backend, unreachable=unreachable))
    if isinstance(key, Engine):
        watcher.watch_engine(key)
        core.watched.add(key)
        return
    source = replicated(target)
    try:
        watcher.watch_sessions(key)
    # The last is what objects of other kinds answer.
    except (exc.SQLAlchemyError, AttributeError) as error:
        raise ConfigurationError(
            "cache.watch wants a sessionmaker, a Session class or a session, their asynchronous twins, an "
            f"engine, or a cluster, not {type(target).__name__}"
        ) from error
    core.watched.add(key)
    if isinstance(watched, scoped_session | async_scoped_session):
        core.watch_registry(watched.registry)
    on_connection = getattr(target, "on_connection", None)
    if on_connection is not None:
        on_connection(watcher.watch_connection)
    if source is not None:
        core.replicated.append(source)


def _colour(target: Any) -> Colour | None:
    """Which code uses these sessions; ``None`` if they do not say, as a ``Session`` class does not."""
    if isinstance(target, async_sessionmaker | async_scoped_session | AsyncSession | AsyncEngine):
        return "async"
    if isinstance(target, sessionmaker | scoped_session | Engine):
        return "sync"
    return None


def _engine(target: Any) -> Engine | None:
    """The engine whose events are listened for, if it is one."""
    engine = target.sync_engine if isinstance(target, AsyncEngine) else target
    if not isinstance(engine, Engine):
        return None
    if type(engine).connect is not Engine.connect:  # it takes its connections from others
        raise ConfigurationError(
            f"{type(engine).__name__} has no connections of its own; give cache.watch the cluster it is of"
        )
    return engine
