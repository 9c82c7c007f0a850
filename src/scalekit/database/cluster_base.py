"""What both colours of a cluster share: the configuration, blocks, scopes and the status.

Rule: nothing here waits for a server. What does is in :mod:`.cluster`, once for each colour.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from inspect import signature
from typing import Any, TypeVar
from weakref import finalize

from sqlalchemy import URL, Connection, Engine, orm

from scalekit._durations import Duration, seconds
from scalekit.database.autocommit import LEVELS
from scalekit.database.backends import Server, backend_for
from scalekit.database.blocks import Block
from scalekit.database.configuration import DatabaseURL, check_level, check_shared, count, names_of
from scalekit.database.core import ClusterEngine
from scalekit.database.directory import Directory, Find
from scalekit.database.drivers import driver_for, known_driver
from scalekit.database.fleet import Fleet
from scalekit.database.instances import WritesAfterReads
from scalekit.database.levels import CAUSAL, STRONG, Consistency
from scalekit.database.member import Member
from scalekit.database.monitor import Monitor
from scalekit.database.replicas import Replica, members_of
from scalekit.database.reported import reported
from scalekit.database.scope import Scope
from scalekit.database.scopes import Scopes
from scalekit.database.session import ReadWriteSession
from scalekit.database.sessionmakers import mixed, session_class
from scalekit.database.spelling import check_session_options, check_spelling
from scalekit.database.status import Status, snapshot
from scalekit.database.tokens import Token, check_token
from scalekit.database.visitors import visitor_number
from scalekit.dependencies import Dependency
from scalekit.errors import ConfigurationError
from scalekit.metrics import Metric
from scalekit.types import Colour

S = TypeVar("S", bound=orm.Session)


class ClusterBase(ABC):
    """A cluster, whatever the colour of the code that uses it."""

    _colour: Colour

    def __init__(
        self,
        primary: DatabaseURL,
        *,
        replicas: Sequence[DatabaseURL | Replica] | Find = (),
        refresh: Duration = 30,
        zone: str | None = None,
        server: Server | None = None,
        consistency: Consistency = CAUSAL,
        writes_after_reads: WritesAfterReads = "expire",
        autocommit_reads: bool = False,
        writing_functions: Collection[str] = (),
        writing_relations: Collection[str] = (),
        max_lag: Duration = 30,
        readmit_lag: Duration = 1,
        ramp: Duration = 10,
        probe_interval: Duration = 0.5,
        probe_timeout: Duration = 1,
        connect_timeout: Duration = 2,
        failover_wait: Duration = 2,
        fallback_reads: int | None = None,
        session_options: Mapping[str, Any] | None = None,
        **engine_options: Any,
    ) -> None:
        """Check the configuration; connects to nothing.

        Durations are seconds or a ``timedelta``.

        Args:
            primary: URL of the primary. Roles move: whichever member is the primary gets the writes.
            replicas: URLs of its replicas, or :class:`Replica` where there is more to say; without any,
                everything goes to ``primary``. Or a function that returns them, such as :func:`dns` makes:
                replicas may come and go then.
            refresh: how often that function is asked; 30 seconds by default.
            zone: where this process is; replicas of the same zone come first.
            server: ``"aurora"``: the servers are Amazon Aurora PostgreSQL's, which the URLs do not tell.
            consistency: of sessions that ask for none in particular, ``CAUSAL`` by default.
            writes_after_reads: what becomes of instances that a transaction has loaded from a replica when it
                writes. ``"expire"``, the default: they are loaded again, in synchronous code when they are
                next read from, in asynchronous code at once; ``"error"``: ``WriteAfterReplicaReads`` in
                place of the write; ``"allow"``: they stay.
            autocommit_reads: what sessions read on replicas is sent without ``BEGIN`` and ``ROLLBACK`` around
                it, which saves two of three round trips; false by default. For READ COMMITTED, where it shows
                the same; what needs a transaction has one all the same.
            writing_functions: names of functions of your own that a replica would run without an error
                although they belong on the primary, because they take an advisory lock, for example. The
                others need not be named: a replica refuses to write.
            writing_relations: names of views that use such functions.
            max_lag: a replica that lags more is left out; 30 seconds by default.
            readmit_lag: a replica that was left out stays out while it lags more; 1 second by default.
            ramp: how long it takes until a replica that comes back gets its whole share of the reads; 10
                seconds by default.
            probe_interval: how often each member is asked how it is; 0.5 seconds by default.
            probe_timeout: how long its answer may take; 1 second by default.
            connect_timeout: how long opening a connection may take, unless ``connect_args`` say
                otherwise; 2 seconds by default.
            failover_wait: how long a transaction waits for a primary while there is none, before
                ``NoServerAvailable``; 2 seconds by default.
            fallback_reads: how many reads at a time the primary takes over from replicas that are out or
                behind; others wait up to ``pool_timeout``. Half of its pool by default, so that writes find
                a connection.
            session_options: arguments for every session.
            engine_options: everything else goes to ``create_engine``, for each member.

        Raises:
            ConfigurationError: a URL, an option or a combination of members that cannot work.
            WrongColour: a driver of the other colour.
        """
        check_level(consistency)
        if "replica" in engine_options:
            raise ConfigurationError("a cluster has no option replica=; did you mean replicas=[...]?")
        find = replicas if callable(replicas) else None
        members = members_of(primary, () if callable(replicas) else replicas)
        url = members[0][0]
        single = len(members) == 1 and find is None
        if not single:
            check_shared(engine_options)
        driver = known_driver(url) if single else driver_for(url)
        backend = backend_for(url, server)
        isolation = str(engine_options.get("isolation_level") or "").upper().replace("_", " ")
        if autocommit_reads and isolation not in LEVELS:
            raise ConfigurationError(
                f"autocommit_reads=True and isolation_level={isolation!r}: what keeps a snapshot is in a "
                "transaction; use 'READ COMMITTED', or leave autocommit_reads out"
            )
        connecting = seconds(connect_timeout, name="connect_timeout", minimum=0.001)
        answering = seconds(probe_timeout, name="probe_timeout", minimum=0.001)
        colour, often = self._colour, seconds(refresh, name="refresh", minimum=0.001)

        def make(url: URL, said: Replica) -> Member:
            return Member(
                url,
                colour=colour,
                backend=backend,
                driver=driver,
                single=single,
                connect_timeout=connecting,
                probe_timeout=answering,
                options=engine_options,
                autocommit_reads=autocommit_reads,
                weight=said.weight,
                zone=said.zone,
                pools=said.pools,
            )

        try:
            self._fleet = Fleet(
                members,
                make=make,
                directory=Directory(find, primary=url, refresh=often, colour=colour) if find else None,
                backend=backend,
                consistency=consistency,
                max_lag=seconds(max_lag, name="max_lag"),
                readmit_lag=seconds(readmit_lag, name="readmit_lag"),
                ramp=seconds(ramp, name="ramp"),
                zone=zone,
                failover_wait=seconds(failover_wait, name="failover_wait"),
                fallback_reads=count(fallback_reads, name="fallback_reads"),
                startup_wait=connecting + answering,
                replicas_usable=backend is not None and isolation not in backend.primary_only_isolation,
            )
        except ConfigurationError as error:
            own = signature(ClusterBase.__init__).parameters
            check_spelling(engine_options, refused=error, own=own)
            raise
        self._fleet.verdicts.add_names(
            functions=names_of(writing_functions, option="writing_functions"),
            relations=names_of(writing_relations, option="writing_relations"),
        )
        interval = seconds(probe_interval, name="probe_interval", minimum=0.001)
        self._fleet.monitor = self._monitor(interval)
        self._session_class = session_class(
            self._fleet, writes_after_reads=writes_after_reads, autocommit_reads=autocommit_reads
        )
        # Dropped without dispose(): the background work must not go on for ever. But whatever can begin a
        # transaction, such as a sessionmaker, has this class, and may outlive the cluster.
        finalize(self._session_class, self._fleet.monitor.signal_stop)
        self._session_options = dict(session_options or {})
        check_session_options(self._session_options)
        check_level(self._session_options.get("consistency", consistency))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(member.name for member in self._fleet.members)}>"

    @property
    def event_target(self) -> type[ReadWriteSession]:
        """What ``sqlalchemy.event.listen`` takes for the events of this cluster's sessions."""
        return self._session_class

    def session_class(self, base: type[S]) -> type[S]:
        """``base``, a session class of a library's or your own, with the routing of this cluster.

        For libraries that make their sessions themselves, such as Flask-SQLAlchemy; where you make them,
        ``sessionmaker(class_=base)`` does it. What ``base.get_bind()`` sends to other databases goes there.

        Raises:
            ConfigurationError: ``base`` is no session class, or another cluster's.
        """
        return mixed(self._session_class, base)

    def on_connection(self, opened: Callable[[Connection], None]) -> None:
        """Call ``opened`` with each Core connection, before it is used.

        With those of :meth:`connection` and of ``primary_engine``; a session's are not among them. The
        engines of the servers behind them come and go; this is for whoever has to know all of them, as a
        cache does that watches what is committed.
        """
        self._fleet.openings.append(opened)

    @property
    def is_single(self) -> bool:
        """Whether there is only one server, and so nothing to route."""
        return self._fleet.single

    def status(self) -> Status:
        """What this process knows about the members. Asks nobody."""
        return snapshot(self._fleet)

    def metrics(self) -> Iterator[Metric]:
        """The same for :mod:`scalekit.metrics`."""
        return reported(self.status(), self._fleet.promotions.count)

    def dependencies(self) -> Iterator[Dependency]:
        """A health check for :mod:`scalekit.ops`: whether a primary answers, as far as is known.

        It asks nobody, and sees to it that the members are watched. A single server is not watched, and
        passes. Required once: a server that never reached its database gets no traffic, and one that has
        keeps it, because all lose the primary at the same time, and what can be read is worth serving.
        """

        def ask(colour: Colour) -> bool:
            if not self._fleet.single:
                self._fleet.monitor.start()
            return self._fleet.has_primary()

        yield Dependency("database", ask, required="once", ttl=1.0)

    def primary(self) -> Block:
        """Transactions that begin in the ``with`` block, or the decorated function, run on the primary."""
        return Block(self.scopes, STRONG, name="primary()")

    def replicas(self, consistency: Consistency | None = None) -> Block:
        """Transactions that begin in the ``with`` block, or the decorated function, may read from replicas.

        For a request that starts on the primary because of its method, and only reads. A session that
        asks for a level of its own gets that.

        Args:
            consistency: ``ANY``, ``CAUSAL`` or ``Bounded(seconds)``; by default the cluster's, or ``CAUSAL``
                where that is ``STRONG``.

        Raises:
            ConfigurationError: another level; for ``STRONG`` there is :meth:`primary`.
        """
        if consistency is None:
            consistency = self._fleet.consistency
            consistency = CAUSAL if consistency is STRONG else consistency
        check_level(consistency)
        if consistency is STRONG:
            raise ConfigurationError("replicas() has no use for STRONG; use cluster.primary()")
        return Block(self.scopes, consistency, name="replicas()")

    @contextmanager
    def scope(
        self, token: Token | None = None, *, writes: bool = False, visitor: str | None = None
    ) -> Iterator[Scope]:
        """One visitor: what is committed inside the block is seen by every later read inside it.

        The middlewares open one for each request. For a job, open one yourself, and pass
        ``scope.token`` on to whoever must see what it wrote. Inside another scope, a request's for
        example, it is promised whatever that one is, and what is written belongs to both. Outside
        every scope the process is its own visitor, who hears of what is written in all of them.

        It may be left in another context than it was entered in, as around the ``yield`` of a synchronous
        dependency of FastAPI, whose endpoint runs in the request's scope and not in this one.

        Args:
            token: what the visitor must be shown at least; in synchronous code inside a request, the whole
                rest of the request is.
            writes: begin on the primary.
            visitor: who it is, such as a user's identifier: reads of the same visitor go to the same replica
                while it is healthy. By default that of the scope around it, or one of its own.

        Raises:
            TypeError: ``token`` is a signed text and no :class:`Token`, or ``visitor`` is no text.
        """
        check_token(token)
        parent = self.scopes.current()
        key = None if visitor is None and parent is not None else visitor_number(visitor)
        scope = Scope(token, writes=writes, parent=parent, visitor=key)
        with self.scopes.enter(scope, brought=token):
            yield scope

    @property
    def scopes(self) -> Scopes:
        """Which scope the running code belongs to; for shells such as the middlewares."""
        return self._fleet.scopes

    @abstractmethod
    def _monitor(self, interval: float) -> Monitor:
        """What probes the members every ``interval`` seconds."""

    def _engine(self, *, read: bool, consistency: Consistency | None = None) -> Engine:
        if consistency is None:
            return self._reading if read else self._session_class.primary_engine
        check_level(consistency)
        if not read:
            raise ConfigurationError("consistency= is for connections with read=True: others can write")
        return self._make_engine(level=consistency)

    # Kept: to make an engine takes longer than to open a connection from a pool.
    @cached_property
    def _reading(self) -> ClusterEngine:
        return self._make_engine()

    def _make_engine(self, *, level: Consistency | None = None) -> ClusterEngine:
        sessions = self._session_class
        return ClusterEngine(lambda: sessions.fleet, read=True, level=level)

    def _session_arguments(self, consistency: Consistency | None, options: dict[str, Any]) -> dict[str, Any]:
        if consistency is not None:
            check_level(consistency)
            options["consistency"] = consistency
        return {**self._session_options, **options}
