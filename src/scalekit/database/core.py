"""Core: what wants an engine, and connections without a session.

Where a connection leads is said by whoever opens it: :mod:`scalekit.database.reading` has the rules of those
for reading, :mod:`scalekit.database.writing` those for writing.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, PoolProxiedConnection

from scalekit.database.fleet import Fleet
from scalekit.database.levels import Consistency
from scalekit.database.reading import open_reading
from scalekit.database.writing import open_raw, open_writing


class ClusterEngine(Engine):
    """An engine whose every connection leads to the server that is right at that moment.

    It has no connections of its own but takes those of the members, so that it follows a failover and costs
    no further pool. For everything that wants an engine: ``create_all()``, Alembic, ``inspect()``, pandas.
    Listeners for events go to the class, ``sqlalchemy.Engine``.

    Args:
        fleet: gives the members.
        read: connect to a replica where possible.
        level: how fresh what is read must be; ``None`` is the cluster's.
        options: execution options of its connections.
    """

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        *,
        read: bool,
        level: Consistency | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self._get_fleet, self._read, self._level = fleet, read, level
        self._options = options or {}
        model = fleet().any_engine()
        super().__init__(model.pool, model.dialect, model.url, hide_parameters=model.hide_parameters)

    def connect(self) -> Connection:
        """A connection; opened before this returns.

        Raises:
            NoServerAvailable: there is no primary, and none appeared within the cluster's ``failover_wait``.
        """
        fleet = self._get_fleet()
        if self._read:
            return open_reading(fleet, self._level, self._options)
        connection = open_writing(fleet)
        return connection.execution_options(**self._options) if self._options else connection

    def raw_connection(self) -> PoolProxiedConnection:
        """A connection of the driver's, from the pool of the primary.

        What it commits nobody hears of. So it counts as a write of the visitor's when it is closed, and until
        then they read from the primary.

        Raises:
            NoServerAvailable: there is no primary, and none appeared within the cluster's ``failover_wait``.
            NotImplementedError: the engine is for reading.
        """
        if self._read:
            raise NotImplementedError("an engine for reading has no raw_connection(); use connect()")
        return open_raw(self._get_fleet())

    if not TYPE_CHECKING:  # SQLAlchemy's are plain attributes, and overloads of every option there is

        @property
        def pool(self):
            return self._get_fleet().any_engine().pool

        @pool.setter
        def pool(self, pool):
            self._get_fleet().any_engine().pool = pool

        def execution_options(self, **options):
            return ClusterEngine(
                self._get_fleet, read=self._read, level=self._level, options={**self._options, **options}
            )
