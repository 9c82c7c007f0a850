"""One primary and its replicas, for synchronous and for asynchronous code."""

from functools import cached_property
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from sqlalchemy import Connection, Engine, orm
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
)

from scalekit._steps import run, run_async
from scalekit.database.cluster_base import ClusterBase
from scalekit.database.levels import Consistency
from scalekit.database.monitor import Monitor
from scalekit.database.probe_tasks import TaskMonitor
from scalekit.database.probe_threads import ThreadMonitor
from scalekit.database.session import ReadWriteSession
from scalekit.errors import ConfigurationError

S = TypeVar("S", bound=orm.Session)
A = TypeVar("A", bound=AsyncSession)


class Cluster(ClusterBase):
    """A primary and its replicas, for synchronous code.

    >>> cluster = Cluster("sqlite:///:memory:")
    >>> with cluster.session() as session:
    ...     session.scalar(text("SELECT 1"))
    1
    """

    _colour = "sync"

    def session(self, *, consistency: Consistency | None = None, **options: Any) -> ReadWriteSession:
        """A ``sqlalchemy.orm.Session``, used like any other.

        Args:
            consistency: ``ANY``, ``CAUSAL``, ``Bounded(seconds)`` or ``STRONG``. Unless given, requests that
                may write (POST, PUT, PATCH, DELETE) use ``STRONG`` and others the cluster's level.
            options: arguments of ``Session``.
        """
        return self._session_class(**self._session_arguments(consistency, options))

    @overload
    def sessionmaker(
        self, *, class_: type[S], consistency: Consistency | None = None, **options: Any
    ) -> orm.sessionmaker[S]: ...

    @overload
    def sessionmaker(
        self, *, consistency: Consistency | None = None, **options: Any
    ) -> orm.sessionmaker[ReadWriteSession]: ...

    def sessionmaker(
        self, *, class_: Any = orm.Session, consistency: Consistency | None = None, **options: Any
    ) -> orm.sessionmaker[Any]:
        """A ``sqlalchemy.orm.sessionmaker`` of this cluster's sessions, for ``scoped_session`` for example.

        Args:
            class_: what kind of session, such as SQLModel's; ``sqlalchemy.orm.Session`` by default.
            consistency: as for :meth:`session`.
            options: arguments of ``sessionmaker``. They come before the cluster's ``session_options``.

        Raises:
            ConfigurationError: ``class_`` is no session class, or another cluster's.
        """
        arguments = self._session_arguments(consistency, options)
        return orm.sessionmaker(class_=self.session_class(class_), **arguments)

    def connection(self, *, read: bool = False, consistency: Consistency | None = None) -> Connection:
        """A Core connection, like one of ``engine.connect()``. Nothing is judged: you say what it is for.

        Args:
            read: lead to a replica that is fresh enough, or to the primary if there is none. It must not be
                written over: PostgreSQL refuses that, on the primary too.
            consistency: how fresh, with ``read=True``; ``None`` (default) is the cluster's level.

        Raises:
            NoServerAvailable: there is no primary, and none appeared within ``failover_wait``.
        """
        return self._engine(read=read, consistency=consistency).connect()

    @cached_property
    def primary_engine(self) -> Engine:
        """For what wants an engine, such as ``create_all()`` and Alembic.

        Each of its connections leads to the server that is the primary then, and comes from that server's
        pool. What is committed over it is in the visitor's token.
        """
        return self._engine(read=False)

    def dispose(self) -> None:
        """Stop the background threads and close all connections that are not in use."""
        self._threads.stop()
        for member in self._fleet.members:
            run(member.dispose())
        self._fleet.reset()
        self._fleet.monitor.changed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.dispose()

    def _monitor(self, interval: float) -> Monitor:
        self._threads = ThreadMonitor(self._fleet, interval=interval)
        return self._threads


class AsyncCluster(ClusterBase):
    """A primary and its replicas, for asynchronous code; like an ``AsyncEngine``, for one event loop."""

    _colour = "async"

    def session(self, *, consistency: Consistency | None = None, **options: Any) -> AsyncSession:
        """An ``AsyncSession``, used like any other.

        Args:
            consistency: ``ANY``, ``CAUSAL``, ``Bounded(seconds)`` or ``STRONG``. Unless given, requests that
                may write (POST, PUT, PATCH, DELETE) use ``STRONG`` and others the cluster's level.
            options: arguments of ``AsyncSession``.
        """
        arguments = self._session_arguments(consistency, options)
        return AsyncSession(sync_session_class=self._session_class, **arguments)

    @overload
    def sessionmaker(
        self, *, class_: type[A], consistency: Consistency | None = None, **options: Any
    ) -> async_sessionmaker[A]: ...

    @overload
    def sessionmaker(
        self, *, consistency: Consistency | None = None, **options: Any
    ) -> async_sessionmaker[AsyncSession]: ...

    def sessionmaker(
        self,
        *,
        class_: Any = AsyncSession,
        sync_session_class: type[orm.Session] | None = None,
        consistency: Consistency | None = None,
        **options: Any,
    ) -> async_sessionmaker[Any]:
        """A ``sqlalchemy.ext.asyncio.async_sessionmaker`` of this cluster's sessions.

        Args:
            class_: what kind of session, such as SQLModel's; ``AsyncSession`` by default.
            sync_session_class: the kind behind it; that of ``class_`` by default.
            consistency: as for :meth:`session`.
            options: arguments of ``async_sessionmaker``. They come before the cluster's ``session_options``.

        Raises:
            ConfigurationError: a class is no session class, or another cluster's.
        """
        if not (isinstance(class_, type) and issubclass(class_, AsyncSession)):
            raise ConfigurationError(f"class_={class_!r} is no subclass of AsyncSession")
        arguments = self._session_arguments(consistency, options)
        behind = self.session_class(sync_session_class or class_.sync_session_class)
        return async_sessionmaker(class_=class_, sync_session_class=behind, **arguments)

    def connection(self, *, read: bool = False, consistency: Consistency | None = None) -> AsyncConnection:
        """A Core connection, like one of ``engine.connect()``. Nothing is judged: you say what it is for.

        Args:
            read: lead to a replica that is fresh enough, or to the primary if there is none. It must not be
                written over: PostgreSQL refuses that, on the primary too.
            consistency: how fresh, with ``read=True``; ``None`` (default) is the cluster's level.

        Raises:
            NoServerAvailable: when it is opened; there is no primary, and none appeared within
                ``failover_wait``.
        """
        return AsyncEngine(self._engine(read=read, consistency=consistency)).connect()

    @cached_property
    def primary_engine(self) -> AsyncEngine:
        """For what wants an engine, such as Alembic.

        Each of its connections leads to the server that is the primary then, and comes from that server's
        pool. What is committed over it is in the visitor's token.
        """
        return AsyncEngine(self._engine(read=False))

    async def dispose(self) -> None:
        """Stop the background tasks and close all connections that are not in use."""
        await self._tasks.stop()
        for member in self._fleet.members:
            await run_async(member.dispose())
        self._fleet.reset()
        self._fleet.monitor.changed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.dispose()

    def _monitor(self, interval: float) -> Monitor:
        self._tasks = TaskMonitor(self._fleet, interval=interval)
        return self._tasks
