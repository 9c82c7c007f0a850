"""The session: one transaction, one server.

Rules:

* The first statement of a transaction decides. Provably a read, and the consistency level allows a
  replica: a replica. Anything else: the primary.
* The choice is kept until the transaction ends, except that a write moves it to the primary for good.
* A replica that refuses a statement as a write, or is lost before it answered anything, costs no error:
  the statement is repeated where it can run. What has been read already is never repeated.
* A write is never repeated, and nor is a read on the primary, which may be one: it may call a function.
* A savepoint begins on the primary: it is made for what may fail, which is a write.

One class serves ``sessionmaker(class_=...)`` and ``async_sessionmaker(sync_session_class=...)``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import Connection, Engine, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, SessionTransaction

from scalekit.database.backends.protocol import Trouble
from scalekit.database.engines import describe
from scalekit.database.fleet import Fleet
from scalekit.database.levels import STRONG, Consistency
from scalekit.database.member import Member
from scalekit.database.place import Place, let_go, on_primary, on_replica
from scalekit.database.recovery import Repeat, repeat
from scalekit.database.scope import Scope


class ReadWriteSession(Session):
    """A SQLAlchemy ``Session`` that reads from replicas and writes to the primary.

    Made by ``Cluster.session()``; behind the ``AsyncSession`` of ``AsyncCluster.session()`` it is the
    ``sync_session``. Takes every argument of ``Session``.

    Args:
        consistency: of this session's transactions; ``None`` follows the request and the cluster.
    """

    fleet: ClassVar[Fleet]

    def __init__(self, *args: Any, consistency: Consistency | None = None, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._consistency = consistency
        self._place: Place | None = None
        # Kept, because a session may be used where its request's context is not: in a thread of the
        # application's own.
        self._born_in = self.fleet.scopes.current()
        if self._born_in is not None:
            self._born_in.watch(self)

    def begin(self, nested: bool = False) -> SessionTransaction:
        """As ``Session.begin()``; a savepoint begins on the primary."""
        if nested and not self.fleet.single:
            self._use_primary()
        return super().begin(nested)

    def connection(self, bind_arguments: Any = None, execution_options: Any = None) -> Connection:
        """The transaction's connection to the primary, since nobody sees what will be sent over it."""
        if self.fleet.single or (bind_arguments and bind_arguments.get("bind")):
            return super().connection(bind_arguments, execution_options)
        place = self._use_primary(execution_options)
        place.handed_out = True
        return super().connection({"bind": place.engine})

    def get_bind(self, mapper: Any = None, *, clause: Any = None, bind: Any = None, **keywords: Any) -> Any:
        """The engine of the place that was chosen; confirms the choice for ``clause``.

        Called by SQLAlchemy with what is about to run. Outside a transaction nothing is chosen, and any
        engine will do for those who want its dialect.
        """
        if bind is not None:
            return bind
        if self.fleet.single:
            return self.fleet.members[0].writer
        if clause is None and mapper is not None and self._flushing:
            return self._use_primary(wrote=True).engine  # a flush or a bulk operation
        place = self._place
        if clause is None or (place is None and not self.in_transaction()):
            return place.engine if place is not None and not place.replica else self.fleet.any_engine()
        if place is None:
            # Something that came past the choice: its transaction must not run where nobody knows of it.
            place = self._use_primary(wrote=not self._is_read(clause))
        elif place.replica and not self._is_read(clause):
            # A hook of the application's replaced the statement that was judged.
            place = self._use_primary(wrote=True)
        return place.engine

    def has_uncommitted_writes(self) -> bool:
        """Whether a commit of this session could still change something."""
        place = self._place
        return not self._is_clean() or (place is not None and (place.wrote or place.handed_out))

    if not TYPE_CHECKING:  # private, with overloads that only SQLAlchemy's own methods are made for

        def _execute_internal(self, statement, params=None, **keywords):
            # Where execute(), scalar(), scalars() and what others build upon them meet, such as SQLModel's
            # exec(), which reaches Session.execute() past any execute() of ours.
            call = super()._execute_internal
            if self.fleet.single or (keywords.get("bind_arguments") or {}).get("bind"):
                return call(statement, params, **keywords)
            if keywords.get("_parent_execute_state") is not None:
                # Inside a hook of the application's, and so inside a statement that was judged.
                return call(statement, params, **keywords)
            return self._perform(lambda: call(statement, params, **keywords), statement)

    def _perform(self, call: Callable[[], Any], statement: Any) -> Any:
        """Choose where ``statement`` runs, unless that is done, and ``call`` it; again where that is safe."""
        read = self._is_read(statement)
        if not read:
            self._use_primary(wrote=True)
        elif self._place is None:
            self._begin_reading()
        while True:
            try:
                result = call()
            except DBAPIError as error:
                if not read or not self._recover(error, statement):
                    raise
            else:
                if self._place is not None:
                    self._place.statements += 1
                return result

    def _is_read(self, statement: Any) -> bool:
        return isinstance(statement, Executable) and self.fleet.verdicts.is_read(statement)

    def _scope(self) -> Scope:
        return self.fleet.scopes.current() or self._born_in or self.fleet.scopes.process

    def _level(self, scope: Scope) -> Consistency:
        block = self.fleet.scopes.level(scope)
        if block is STRONG or self.twophase:
            return STRONG
        if not self.fleet.replicas_usable:
            return STRONG
        if self.autoflush and not self._is_clean():
            return STRONG  # the read flushes first, and so writes
        if self._consistency is not None:
            return self._consistency
        if block is not None:
            return block
        return STRONG if scope.writes else self.fleet.consistency

    def _begin_reading(self, without: frozenset[Member] = frozenset()) -> None:
        """Choose where to read, and connect."""
        self.fleet.begin()
        scope = self._scope()
        self._place = on_replica(self, scope, self._level(scope), without)
        if self._place is None:
            self._use_primary()

    def _use_primary(self, execution_options: Any = None, *, wrote: bool = False) -> Place:
        """The rest of the transaction runs on the primary.

        Raises:
            NoServerAvailable: there is none, and none appeared within the cluster's ``failover_wait``.
        """
        place = self._place
        if place is None or place.replica:
            self.fleet.begin()
            place = self._place = on_primary(self, self._scope(), execution_options)
        if wrote:
            place.wrote = True
        return place

    def _connect(self, engine: Engine, execution_options: Any = None) -> Connection:
        """The transaction's connection to ``engine``, whatever this class thinks of it."""
        return super().connection({"bind": engine}, execution_options)

    def _recover(self, error: DBAPIError, statement: Executable) -> bool:
        """Whether the read that ended in ``error`` may be repeated; prepares that."""
        place = self._place
        if place is None:
            return False
        trouble = place.member.trouble(error)
        if trouble is Trouble.GONE:
            self.fleet.suspect(place.member, describe(error))
        match repeat(trouble, replica=place.replica, statements=place.statements):
            case Repeat.NOWHERE:
                return False
            case Repeat.ON_PRIMARY:
                if trouble is Trouble.WRITE_REFUSED:
                    self.fleet.verdicts.refused(statement)
                self._leave(place, broken=False)
                self._use_primary(wrote=True)
            case Repeat.ELSEWHERE:
                self._leave(place, broken=trouble is Trouble.GONE)
                self._begin_reading(frozenset({place.member}))
        return True

    def _leave(self, place: Place, *, broken: bool) -> None:
        let_go(self, place.engine, broken=broken)
        self._place = None
