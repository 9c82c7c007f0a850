"""Core connections for reading: to a replica that is fresh enough, or else to the primary.

Rules:

* One for reading cannot write, not on the primary either, where the server can see to it.
* A transaction runs on one server. Where that is is looked at when it begins, so that a connection which
  serves several follows its visitor; what was fine when it was opened may be too old by then, or be out.
* The first statement of a transaction that its replica cannot answer, because it is lost or cancels it, is
  repeated on another one, or else the primary. What has been read is never repeated: a later one raises.
* What no replica can do, such as ``SERIALIZABLE``, is done on the primary, unless a snapshot would not last.
* A later statement is not older than what its visitor has been promised by then. It waits for that, and if
  the replica does not have it in time, it is an error and never an older read.
* What was sent and is no read, such as ``SET``, may have set what the next server would not know of. Such a
  connection stays where it is, and what cannot go on there is an error.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

from sqlalchemy import Engine, Executable, TwoPhaseTransaction, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import ReleaseSavepointClause, RollbackToSavepointClause, SavepointClause

from scalekit.database.backends.protocol import Trouble
from scalekit.database.connecting import PrimaryLost, connect_to_replica, open_writer, raw
from scalekit.database.engines import describe
from scalekit.database.fleet import Fleet
from scalekit.database.freshness import LASTING, is_fresh_enough
from scalekit.database.levels import ANY, STRONG, Bounded, Consistency
from scalekit.database.member import Member
from scalekit.database.monotonic import replica_for
from scalekit.database.moving import MovingConnection
from scalekit.database.recovery import Repeat, repeat
from scalekit.database.report import Report
from scalekit.database.scope import Scope, Seen
from scalekit.database.tokens import Reached, Token, covers
from scalekit.errors import NoServerAvailable

_MODE = "postgresql_readonly"
_SAVEPOINTS = (SavepointClause, ReleaseSavepointClause, RollbackToSavepointClause)


@dataclass(slots=True)
class _At:
    """Where a connection leads.

    Args:
        member: the server.
        scope: the visitor.
        level: how fresh its reads are to be; ``STRONG`` on the primary.
        seen: what the visitor had been promised when that was checked.
        report: what the server has said, if it is a replica.
        stays: it is the primary, because no replica can do what is asked.
    """

    member: Member
    scope: Scope
    level: Consistency
    seen: Token | None
    report: Report | None
    stays: bool

    unused: bool = True
    """No transaction has begun there."""
    reached: Reached | None = None
    """What the replica was known to have before the transaction began."""
    statements: int = 0
    """How many the transaction has run there, with success."""
    began: float = field(default_factory=time.monotonic)
    """When the transaction began (monotonic)."""


def open_reading(
    fleet: Fleet,
    wanted: Consistency | None,
    options: dict[str, Any],
    home: Scope | None = None,
    without: frozenset[Member] = frozenset(),
    *,
    primary: bool = False,
) -> "ReadingConnection":
    """A connection for reading.

    Args:
        fleet: of its server.
        wanted: how fresh what is read must be; ``None`` is the cluster's level.
        options: execution options of the connection.
        home: the visitor, where the running code belongs to none; by default the process.
        without: members that failed this transaction already.
        primary: no replica can do it.

    Raises:
        NoServerAvailable: there is no primary, and none appeared within the cluster's ``failover_wait``.
    """
    fleet.begin()
    home = home or fleet.scopes.current() or fleet.scopes.process
    scope = fleet.scopes.current() or home
    level, promised = STRONG if primary else _level(fleet, scope, wanted), scope.token
    connect = partial(ReadingConnection, fleet=fleet, wanted=wanted, home=home)
    fallback = level is not STRONG
    write = partial(open_writer, fleet, promised, fallback=fallback, connect=connect)
    found = connect_to_replica(fleet, scope, level, without, connect)
    try:
        member, connection = found or write(at_once=fallback)
    except PrimaryLost as error:
        # It may have been asked for the sake of replicas that have just come back.
        found = connect_to_replica(fleet, scope, level, without | error.members, connect)
        member, connection = found or write()
    reading = cast(ReadingConnection, connection)
    try:
        report = member.introduction(raw(connection)) if found is not None else None
        reading.arrived(_At(member, scope, level if found else STRONG, promised, report, primary), options)
        for opened in fleet.openings:
            opened(reading)
    except BaseException:
        connection.close()
        raise
    return reading


def _level(fleet: Fleet, scope: Scope, wanted: Consistency | None) -> Consistency:
    block = fleet.scopes.level(scope)
    if block is STRONG or fleet.single or not fleet.replicas_usable:
        return STRONG
    return wanted or block or fleet.consistency


class ReadingConnection(MovingConnection):
    """A connection made by :func:`open_reading`.

    Args:
        engine: of the server that it leads to first.
        fleet: of that server.
        wanted: how fresh what is read must be; ``None`` is the cluster's level.
        home: the visitor, where the running code belongs to none.
    """

    _at: _At

    def __init__(self, engine: Engine, *, fleet: Fleet, wanted: Consistency | None, home: Scope) -> None:
        self._fleet, self._wanted, self._home = fleet, wanted, home
        self._kept = False  # by something that is set there, of which another server would not know
        super().__init__(engine)

    def arrived(self, at: _At, options: dict[str, Any]) -> None:
        """It leads where it is to lead."""
        self._at = at
        self._note_reached()
        if at.level is STRONG and self.dialect.name == "postgresql":
            super().execution_options(**{_MODE: True})
        if options:
            self.execution_options(**options)
        if not self._fleet.single:
            self._busy = False

    def committed_position(self) -> str | None:
        """Nothing is committed over it."""
        return None

    def has_read_past(self, position: str | None) -> bool:
        """As :meth:`.ReadWriteSession.has_read_past`."""
        reached = self._at.reached
        return reached is None or covers(reached, position)

    def _note_reached(self) -> None:
        at = self._at
        at.reached = at.member.reached_over(raw(self)) if at.report is not None else None

    if not TYPE_CHECKING:  # SQLAlchemy's are overloads

        def execution_options(self, **options):
            options.pop(_MODE, None)  # it reads only, whatever is asked for
            return super().execution_options(**options)

        def detach(self):
            super().detach()
            self._kept = True

        def _begin_impl(self, transaction):
            at = getattr(self, "_at", None)  # nowhere yet while listeners hear of the new connection
            if at is not None and not self._fleet.single:
                at.member.transactions += 1
            super()._begin_impl(transaction)

    def _open(self, without: frozenset[Member] = frozenset(), *, primary: bool = False) -> Self:
        other = open_reading(
            self._fleet, self._wanted, self._own_options, self._home, without, primary=primary
        )
        return cast(Self, other)

    def _take_over(self, other: Self) -> None:
        super()._take_over(other)
        self._at, self._kept = other._at, False

    def _before(self, *, begins: bool) -> None:
        if not begins:
            self._keep_up()
        elif self.invalidated:
            self._take_over(self._open())
        else:
            self._prepare()
            self._note_reached()

    def _prepare(self) -> None:
        """A transaction begins: it is to run where its visitor's reads belong now."""
        at, fleet = self._at, self._fleet
        at.statements, at.began, unused, at.unused = 0, time.monotonic(), at.unused, False
        before, at.scope = at.scope, fleet.scopes.current() or self._home
        level = _level(fleet, at.scope, self._wanted)
        if at.level is STRONG:
            # What was set there is lost with a primary that is replaced; the statement's error says so.
            if not self._kept and (
                at.member is not fleet.primary or (not at.stays and self._could_go(level))
            ):
                self._move()
        elif unused and at.scope is before and level == at.level and self._promises_the_same():
            pass  # asked when it was opened
        elif level is not STRONG and self._suits(level):
            at.level = level
        elif not self._kept:
            self._move()
        elif level is not STRONG and self._await(lambda: self._suits(level)):
            at.level = level
        else:
            raise NoServerAvailable(
                f"a transaction cannot begin on the replica {at.member.name}, to which this connection "
                f"leads: {self._lack(level)}; and something that was sent over the connection, such as "
                "SET, keeps it there; open another connection"
            )

    def _keep_up(self) -> None:
        """One more statement of the transaction: it is not to be older than what its visitor has seen."""
        at = self._at
        scope = self._fleet.scopes.current() or self._home
        if scope is not at.scope:
            self._ends()  # what was shown so far, the one before has seen
            at.scope = scope
        if at.level in (STRONG, ANY) or scope.token is at.seen:
            return
        if not at.statements and self._may_move():
            if not self._knows(at.level):
                self._move()  # nothing has been read, so that there is no snapshot either
        elif not (
            (at.statements and is_fresh_enough(at, self, self._fleet, at.level))
            or self._await(lambda: self._knows(at.level))
        ):
            raise NoServerAvailable(
                f"the replica {at.member.name}, on which this transaction reads: {self._lack(at.level)}; "
                "roll back, and repeat the transaction"
            )

    def _lack(self, level: Consistency) -> str:
        if level is STRONG:
            return "it belongs on the primary"
        wait = self._fleet.failover_wait
        return f"it has not got what was committed meanwhile, within {wait:g} s"

    def _knows(self, level: Consistency) -> bool:
        """Whether the replica is fresh enough for what has no snapshot yet."""
        at, promised = self._at, self._at.scope.token
        enough = self._fleet.knows(at.member, raw(self), level, promised)
        if enough:
            at.seen = promised
        return enough

    def _suits(self, level: Consistency) -> bool:
        """Whether a transaction may begin on the replica, which is to show what its visitor has seen, too."""
        at, others = self._at, frozenset(self._fleet.members) - {self._at.member}
        found = replica_for(self._fleet, at.scope, level, others)
        if found is None or found.choice.ask is not None or not self._knows(level):
            return False
        again = found.again
        opened = at.member.introduction(raw(self))
        return again is None or opened.is_of_the_run_of(again.report, at=again.began)

    def _promises_the_same(self) -> bool:
        """Whether what made the replica the right one, when the connection was opened, still holds."""
        at = self._at
        seen = at.scope.seen
        return (
            at.scope.token is at.seen
            and at.member in self._fleet.readers
            and not isinstance(at.level, Bounded)
            and (seen is None or seen.member is at.member)
        )

    def _await(self, condition: Callable[[], bool]) -> bool:
        monitor = self._fleet.monitor
        monitor.poke()
        monitor.wait(condition, self._fleet.failover_wait)
        return condition()

    def _could_go(self, level: Consistency) -> bool:
        """Whether a replica is known to have what is to be read."""
        scope = self._at.scope
        if level is STRONG:
            return False
        choice = self._fleet.choose(level, scope.token, frozenset(), visitor=scope.visitor)
        return choice is not None and choice.ask is None

    def _may_move(self) -> bool:
        """Whether the transaction can go on over another connection as if nothing had happened."""
        begun = isinstance(self.get_transaction(), TwoPhaseTransaction) or self.in_nested_transaction()
        return not (self._kept or begun)

    def _move(self) -> None:
        self._leave()
        self._take_over(self._open())

    def _after(self, statement: Any) -> None:
        at = self._at
        at.statements += 1
        if not self._kept and not isinstance(statement, _SAVEPOINTS):
            known = text(statement) if isinstance(statement, str) else statement
            self._kept = not (isinstance(known, Executable) and self._fleet.verdicts.is_read(known))

    def _ends(self) -> None:
        # What a transaction was shown, the visitor has seen.
        at = self._at
        if at.report is not None and at.statements:
            at.scope.saw(Seen(at.member, at.report, at.began, time.monotonic()))
            at.statements = 0

    def _recover(self, error: DBAPIError, met: dict[Member, bool]) -> bool:
        at = self._at
        trouble, met[at.member] = at.member.trouble(error), at.member.fell_silent(error)
        if trouble is Trouble.WRITE_REFUSED:
            error.add_detail(
                f"over a connection to {at.member.name} that cluster.connection(read=True) has opened, and "
                "that reads only, on the primary too; to write, use cluster.connection()"
            )
        if trouble is Trouble.GONE:
            self._fleet.suspect(at.member, describe(error))
        lost = sum(met.values())
        where = repeat(trouble, replica=at.level is not STRONG, statements=at.statements, lost=lost)
        if where is Repeat.NOWHERE or trouble is Trouble.WRITE_REFUSED or not self._may_move():
            return False
        if at.statements and self._is_lasting():
            return False
        # A transaction that was refused as such, as SERIALIZABLE is, has begun for asyncpg, and for ever.
        self._leave(broken=trouble in (Trouble.GONE, Trouble.FEATURE_REFUSED))
        self._take_over(self._open(frozenset(met), primary=where is Repeat.ON_PRIMARY))
        at.member.counters.repeats += 1
        return True

    def _is_lasting(self) -> bool:
        """Whether the transaction has a snapshot that lasts. It has failed, and so cannot be asked."""
        given = self.get_execution_options().get("isolation_level")
        return (given or self.default_isolation_level) in LASTING
