"""The session: one transaction, one server.

Rules:

* The first statement of a transaction decides. Provably a read, and the consistency level allows a
  replica: a replica. Anything else: the primary.
* The choice is kept until the transaction ends, except that a write moves it to the primary for good,
  and so does a read for which the replica is not fresh enough any more.
* A replica that refuses a statement as a write, or is lost before it answered anything, costs no error:
  the statement is repeated where it can run. What has been read already is never repeated.
* A write is never repeated, and nor is a read on the primary, which may be one: it may call a function.
* What was read on a replica may be older than what a write changes: see :mod:`scalekit.database.instances`.
* A savepoint begins on the primary: it is made for what may fail, which is a write.
* What the application binds to an engine of its own, by ``bind=`` or ``binds=``, goes there and nowhere else.

One class serves ``sessionmaker(class_=...)`` and ``async_sessionmaker(sync_session_class=...)``.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import ClauseElement, Connection, Engine, Executable
from sqlalchemy.exc import DBAPIError, MissingGreenlet, StatementError, UnboundExecutionError
from sqlalchemy.orm import Session, SessionTransaction, object_mapper

from scalekit.database.autocommit import ALONE
from scalekit.database.backends.protocol import Trouble
from scalekit.database.connecting import PrimaryLost
from scalekit.database.engines import describe
from scalekit.database.fleet import Fleet
from scalekit.database.instances import Origins, WritesAfterReads, expire
from scalekit.database.levels import STRONG, Consistency
from scalekit.database.member import Member
from scalekit.database.options import is_streamed, level_of
from scalekit.database.place import Place, let_go, on_primary, on_replica
from scalekit.database.recovery import Repeat, repeat
from scalekit.database.reloading import explain, reload
from scalekit.database.routing import changes_rows
from scalekit.database.scope import Scope
from scalekit.database.tokens import Token, covers
from scalekit.errors import WriteAfterReplicaReads

_NOTHING: Mapping[str, Any] = {}


class ReadWriteSession(Session):
    """A SQLAlchemy ``Session`` that reads from replicas and writes to the primary.

    Made by ``Cluster.session()``; behind the ``AsyncSession`` of ``AsyncCluster.session()`` it is the
    ``sync_session``. Takes every argument of ``Session``.

    Args:
        consistency: of this session's transactions; ``None`` follows the request and the cluster.
    """

    fleet: ClassVar[Fleet]
    primary_engine: ClassVar[Engine]
    writes_after_reads: ClassVar[WritesAfterReads] = "expire"

    autocommit_reads: ClassVar[bool] = False

    _has_binds = False  # before __init__, in which SQLAlchemy adds them

    def __init__(self, *args: Any, consistency: Consistency | None = None, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._consistency = consistency
        self._place: Place | None = None
        self._wrote = False  # with a single server, where no place is chosen
        self._committed: Token | None = None
        self._origins = Origins()
        self._gone: list[str] = []  # loaded from a replica, and not to be had from the primary
        self._left: tuple[Connection, ...] = ()  # to replicas, and rows may still be streaming over them
        # Kept, because a session may be used where its request's context is not: in a thread of the
        # application's own.
        self._request = self.fleet.scopes.current()
        if self._request is not None:
            self._request.watch(self)

    def begin(self, nested: bool = False) -> SessionTransaction:
        """As ``Session.begin()``; a savepoint begins on the primary."""
        if nested and self._routes():
            self._use_primary()
        return super().begin(nested)

    def connection(self, bind_arguments: Any = None, execution_options: Any = None) -> Connection:
        """The transaction's connection to the primary, since nobody sees what will be sent over it."""
        if self.fleet.single:
            self._write_alone()  # or not, nobody knows
        if not self._routes() or self._bound(**(bind_arguments or {})) is not None:
            return super().connection(bind_arguments, execution_options)
        before = self._place
        self._may_write()
        place = self._use_primary(execution_options)
        self._after_reads(place)
        place.handed_out = True
        # SQLAlchemy warns about options that come too late.
        return super().connection({"bind": place.engine}, execution_options if place is before else None)

    def expire(self, instance: object, attribute_names: Iterable[str] | None = None) -> None:
        """As ``Session.expire()``."""
        self._origins.forget()
        super().expire(instance, attribute_names)

    def expire_all(self) -> None:
        """As ``Session.expire_all()``."""
        self._origins.forget()
        super().expire_all()

    def get_bind(self, mapper: Any = None, *, clause: Any = None, bind: Any = None, **keywords: Any) -> Any:
        """The engine of the place that was chosen; confirms the choice for ``clause``.

        Called by SQLAlchemy with what is about to run. For nothing in particular it is the cluster's
        ``primary_engine``, over which nothing is committed that the visitor does not read.
        """
        bound = self._bound(mapper, clause, bind)
        if bound is not None:
            return bound
        if self.fleet.single:
            return self.fleet.members[0].writer
        if clause is None and mapper is not None and self._flushing:
            flushed = self._use_primary(wrote=True)  # or changed by a bulk operation
            flushed.changed = True
            return flushed.engine
        place = self._place
        if clause is None or (place is None and not self.in_transaction()):
            is_here = place is not None and not place.replica and mapper is not None
            return place.engine if place is not None and is_here else self.primary_engine
        if place is None:
            # Something that came past the choice: its transaction must not run where nobody knows of it.
            place = self._use_primary(wrote=not self._is_read(clause))
        elif place.replica and clause is not place.judged and not self._is_read(clause):
            # A hook of the application's replaced the statement that was judged.
            place = self._use_primary(wrote=True)
        return place.engine

    def _bound(self, mapper: Any = None, clause: Any = None, bind: Any = None, **_: Any) -> Any:
        """What the application itself has bound this to; ``None``: the cluster's members."""
        if bind is self.primary_engine:
            bind = None  # given by get_bind(), for nothing in particular
        if bind is None and (self._has_binds or self.bind is not None):
            clause = clause if isinstance(clause, ClauseElement) else None  # an error that comes later
            try:
                return super().get_bind(mapper, clause=clause)
            except UnboundExecutionError:
                return None
        return bind

    def _routes(self) -> bool:
        """Whether there is anything to choose for this session."""
        return not self.fleet.single and self.bind is None

    def _flushes_here(self) -> bool:
        """Whether anything of the flush in progress is for the cluster's members."""
        if not self._has_binds:
            return self._routes()
        changed = (*self.new, *self.dirty, *self.deleted)
        return self._routes() and any(self._bound(object_mapper(one)) is None for one in changed)

    def has_uncommitted_writes(self) -> bool:
        """Whether a commit of this session could still change something."""
        place = self._place
        wrote = self._wrote if place is None else place.wrote or place.handed_out
        return wrote or not self._is_clean()

    def committed_position(self) -> str | None:
        """Where the last transaction of this session was committed, in the primary's log.

        ``None``: nothing was written, or it is not known where, or there are no replicas to compare with.
        """
        token = self._place.token if self._place is not None else self._committed
        return token.position() if token is not None and token.is_known else None

    def has_read_past(self, position: str | None) -> bool:
        """Whether what this transaction reads includes what was committed at ``position``.

        Always on the primary. On a replica only if it was known to have it before the transaction began;
        never of ``None``, which is a position that is not known.

        Args:
            position: as :meth:`committed_position` of any session of this cluster's servers has said.
        """
        place = self._place
        return place is None or place.reached is None or covers(place.reached, position)

    if not TYPE_CHECKING:  # private, with overloads that only SQLAlchemy's own methods are made for

        def _add_bind(self, key, bind):
            # By binds=, bind_mapper() or bind_table(). What was added is not to be asked for everywhere.
            super()._add_bind(key, bind)
            self._has_binds = True

        def _execute_internal(self, statement, params=None, **keywords):
            # Where execute(), scalar(), scalars() and what others build upon them meet, such as SQLModel's
            # exec(), which reaches Session.execute() past any execute() of ours.
            call = super()._execute_internal
            if not self._routes():
                if self.fleet.single and not self._wrote and not self._is_read(statement):
                    self._write_alone()
                return call(statement, params, **keywords)
            arguments = keywords.get("bind_arguments") or {}
            if (arguments or self._has_binds) and self._bound(
                **{"clause": statement, **arguments}
            ) is not None:
                return call(statement, params, **keywords)
            if keywords.get("_parent_execute_state") is not None:
                # Inside a hook of the application's, and so inside a statement that was judged.
                return call(statement, params, **keywords)
            options = keywords.get("execution_options") or {}
            if self.autocommit_reads:
                keywords["execution_options"] = options = {**options, ALONE: True}
            try:
                return self._perform(lambda: call(statement, params, **keywords), statement, options)
            except (MissingGreenlet, StatementError) as error:
                if self._gone and isinstance(getattr(error, "orig", error), MissingGreenlet):
                    error.add_note(explain(self._gone))
                raise

    def _perform(self, call: Callable[[], Any], statement: Executable, options: Mapping[str, Any]) -> Any:
        """Choose where ``statement`` runs, unless that is done, and ``call`` it; again where that is safe.

        Args:
            call: runs it.
            statement: what is to run.
            options: the execution options that were passed along.
        """
        read = self._is_read(statement)
        if read:
            self._choose_reader(statement, options)
        else:
            # What is no statement at all ends in SQLAlchemy's error.
            self._use_primary(wrote=True).changed |= changes_rows(statement)
        met: dict[Member, bool] = {}
        while True:
            if self._place is not None:
                # Before it runs, so that those that it causes, as a selectinload() does, are not the first.
                self._place.statements += 1
            try:
                return call()
            except DBAPIError as error:
                if not read or not self._recover(error, statement, met):
                    raise

    def _choose_reader(self, statement: Executable, options: Mapping[str, Any]) -> None:
        """Choose where to read, unless that is done and still good."""
        place = self._place
        if place is None or place.replica:
            level = level_of(statement, options, getattr(self, "execution_options", _NOTHING))
            if self.fleet.verdicts.needs_primary(statement):
                level = STRONG
            if place is None:
                self._begin_reading(level)
            elif not place.still_answers(self.fleet, level or place.level, self._scope()):
                self._use_primary(fallback=(level or place.level) is not STRONG)
            place = self._place
            if place is not None and place.replica:
                place.judged = statement
                place.streaming |= is_streamed(statement, options)

    def _is_read(self, statement: Any) -> bool:
        return isinstance(statement, Executable) and self.fleet.verdicts.is_read(statement)

    def _scope(self) -> Scope:
        current = self.fleet.scopes.current()
        if current is not None and current is not self._request:
            # Kept for longer than the request that it was made in: what it does is of this one.
            self._request = current
            current.watch(self)
        return self._request or self.fleet.scopes.process

    def _write_alone(self) -> None:
        """A single server is written to, where there is no place to remember it."""
        self._wrote = True
        self._scope()

    def _level(self, scope: Scope, asked: Consistency | None) -> Consistency:
        block = self.fleet.scopes.level(scope)
        if block is STRONG or self.twophase:
            return STRONG
        if not self.fleet.replicas_usable:
            return STRONG
        if self.autoflush and not self._is_clean():
            return STRONG  # the read flushes first, and so writes
        for level in (asked, self._consistency, block):
            if level is not None:
                return level
        return STRONG if scope.writes else self.fleet.consistency

    def _begin_reading(
        self, asked: Consistency | None = None, without: frozenset[Member] = frozenset()
    ) -> None:
        """Choose where to read, and connect.

        Args:
            asked: how fresh the first statement asks to be.
            without: members that failed this transaction already.
        """
        self.fleet.begin()
        scope = self._scope()
        level = self._level(scope, asked)
        place = self._place = on_replica(self, scope, level, without)
        if place is None:
            fallback = level is not STRONG
            try:
                place = self._use_primary(fallback=fallback, at_once=fallback)
            except PrimaryLost as lost:
                # It may have been asked for the sake of replicas that have just come back.
                place = self._place = on_replica(self, scope, level, without | lost.members)
                place = place or self._use_primary(fallback=fallback)
        if place.replica and self.writes_after_reads == "expire":
            self._origins.reading(self)

    def _use_primary(
        self,
        execution_options: Any = None,
        *,
        wrote: bool = False,
        fallback: bool = False,
        at_once: bool = False,
    ) -> Place:
        """The rest of the transaction runs on the primary.

        Args:
            execution_options: for its connection.
            wrote: it is a write that goes there.
            fallback: it is a read that replicas were to answer.
            at_once: while there is no primary, somebody else may be asked.

        Raises:
            PrimaryLost: there is none now, with ``at_once``.
            NoServerAvailable: there is none, and none appeared within the cluster's ``failover_wait``.
        """
        if wrote:
            self._may_write()
        place = self._place
        if place is None or place.replica:
            self.fleet.begin()
            left = place
            place = on_primary(self, self._scope(), execution_options, fallback=fallback, at_once=at_once)
            self._place = place
            if left is not None:
                place.follows(left.read_from)
                self._leave(left)
        if wrote:
            self._after_reads(place)
            place.wrote = True
        return place

    def _may_write(self) -> None:
        """Something is about to be sent that may write.

        Raises:
            WriteAfterReplicaReads: and that is not wanted after reads on a replica.
        """
        place = self._place
        if self.writes_after_reads == "error" and place is not None and place.read_from is not None:
            raise WriteAfterReplicaReads(place.read_from)

    def _after_reads(self, place: Place) -> None:
        """The transaction may write from here on; what it read on a replica is not to be written back."""
        if place.read_from is not None:
            place.follows(None)
            if self.writes_after_reads == "expire":
                expired = expire(self, self._origins)
                self._gone = reload(self, expired) if place.engine.dialect.is_async else []

    def _join(self, connection: Connection, execution_options: Any = None) -> None:
        """The transaction goes on over ``connection``, whatever this class thinks of it."""
        super().connection({"bind": connection}, execution_options)

    def _leave(self, place: Place) -> None:
        """The transaction has left the replica at ``place``, with what it has read there."""
        place.tell_seen()
        if place.is_streaming():
            self._left += (place.connection,)
        else:
            let_go(self, place.connection, broken=False)

    def _give_back(self, place: Place | None) -> None:
        """The transaction is over, and so is the use of its connections."""
        connections, self._left = self._left, ()
        if place is not None:
            connections += (place.connection,)
        for connection in connections:
            connection.close()

    def _recover(self, error: DBAPIError, statement: Executable, met: dict[Member, bool]) -> bool:
        """Whether the read that ended in ``error`` may be repeated; prepares that.

        Args:
            error: what it ended in.
            statement: the read.
            met: which members have failed it, and whether without a word; this one is added.
        """
        place = self._place
        if place is None:
            return False
        place.statements -= 1  # what failed has read nothing
        trouble, met[place.member] = place.member.trouble(error), place.member.fell_silent(error)
        if trouble is Trouble.GONE:
            self.fleet.suspect(place.member, describe(error))
        lost = sum(met.values())
        match repeat(trouble, replica=place.replica, statements=place.statements, lost=lost):
            case Repeat.NOWHERE:
                return False
            case Repeat.ON_PRIMARY:
                if trouble is Trouble.WRITE_REFUSED:
                    self.fleet.verdicts.refused(statement)
                elif place.member.blames_statement(error):
                    self.fleet.verdicts.unable(statement)
                self._use_primary(wrote=trouble is Trouble.WRITE_REFUSED)
            case Repeat.ELSEWHERE:
                let_go(self, place.connection, broken=trouble is Trouble.GONE)
                self._place = None
                self._begin_reading(place.level, frozenset(met))
        place.member.counters.repeats += 1
        return True
