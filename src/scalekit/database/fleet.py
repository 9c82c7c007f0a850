"""Which member is to take the next transaction, and whether it has what is to be read.

One object for both colours and all sessions of a cluster. What the members are is in :mod:`.roles`; here are
the questions of those who want to read and to write.
"""

import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import URL, Connection, Engine

from scalekit.database.admission import share
from scalekit.database.backends.protocol import Backend
from scalekit.database.choice import Choice, choose
from scalekit.database.directory import Directory
from scalekit.database.fallback import Fallback
from scalekit.database.levels import ANY, Bounded, Consistency
from scalekit.database.member import Member
from scalekit.database.replicas import Replica
from scalekit.database.report import Report
from scalekit.database.roles import NOBODY_WRITES, Roles
from scalekit.database.routing import Verdicts
from scalekit.database.sqltext.postgresql import RULES
from scalekit.database.tokens import Token
from scalekit.errors import NoServerAvailable

# How long a replica that is hardly behind may take to have what was just committed, before the primary is
# asked instead: a few times what replay takes, and less than a person notices.
_PATIENCE = 0.05


class Fleet(Roles):
    """The members of one cluster, for those who read and write.

    Args:
        members: what is said of each, the configured primary first.
        make: a member of what is said of it.
        directory: says which replicas there are now; ``None``: those, always.
        backend: what kind of servers they are; ``None`` for a kind that cannot have replicas.
        consistency: of sessions that ask for none in particular.
        max_lag: seconds of lag beyond which a replica is left out.
        readmit_lag: seconds of lag beyond which one that is out stays out.
        ramp: seconds over which one that comes back gets more and more of the reads.
        zone: where this process is; its replicas come first.
        failover_wait: seconds that a transaction waits for a primary when there is none.
        startup_wait: seconds that the first transaction of the process waits for the members' first answers.
        replicas_usable: false where the engine options ask for what no replica can do.
        fallback_reads: how many reads of theirs the primary takes at a time; ``None``: half of its pool.
    """

    verdicts: Verdicts

    def __init__(
        self,
        members: Sequence[tuple[URL, Replica]],
        *,
        make: Callable[[URL, Replica], Member],
        directory: Directory | None = None,
        backend: Backend | None,
        consistency: Consistency,
        max_lag: float,
        readmit_lag: float,
        ramp: float,
        zone: str | None,
        failover_wait: float,
        startup_wait: float,
        replicas_usable: bool = True,
        fallback_reads: int | None = None,
    ) -> None:
        super().__init__(members, make=make, directory=directory, max_lag=max_lag, readmit_lag=readmit_lag)
        self.consistency = consistency
        self.replicas_usable = replicas_usable
        self._fallback_reads = fallback_reads
        self.fallback = Fallback(
            lambda: self.monitor, limit=self._most_fallback_reads, reasons=self._reasons_of_replicas
        )
        # Of another kind, such as SQLite, to tell what a response has to wait for: what looks like no read.
        rules = RULES if backend is None else backend.rules
        self.verdicts = Verdicts(self.members[0].writer.dialect, rules)
        self.openings: list[Callable[[Connection], None]] = []
        """Who is told of each Core connection that is opened."""
        self._ramp, self._zone = ramp, zone
        self.failover_wait, self._startup_wait = failover_wait, startup_wait

    def reset(self) -> None:
        """Forget what the members said."""
        super().reset()
        self._awaited: tuple[int, float] | None = None
        self._drawn = random.random()  # noqa: S311

    def forked(self) -> None:
        """This is another process, or another event loop: nothing that is open or known is ours."""
        self.fallback.forked()
        super().forked()

    def begin(self) -> None:
        """A transaction begins: there must be somebody who watches the members."""
        if self.single:
            return
        self.monitor.start()
        while not self.first_round.over:
            facts = self.history
            self.monitor.wait(
                lambda facts=facts: self.first_round.over or self.history is not facts,  # type: ignore[misc]
                self._startup_wait,
            )
            if self.history is facts:
                self.first_round.over = (
                    True  # once per process: who has not answered by now is found when it does
                )
            else:
                self.monitor.start()  # dispose() has stopped it, and let everything be forgotten

    def choose(
        self,
        level: Consistency,
        token: Token | None,
        without: frozenset[Member],
        *,
        visitor: int | None = None,
    ) -> Choice[Member] | None:
        """A replica to read from; ``None``: the primary.

        Args:
            level: how fresh the read must be.
            token: what the visitor was promised.
            without: members that failed this transaction already.
            visitor: who keeps their replica; ``None``: nobody in particular.
        """
        if not self.readers:
            return None
        token = self._comparable(token)
        if token is not None and level is not ANY and not self._can_compare(token):
            return None
        return choose(
            [member for member in self.readers if member not in without] if without else self.readers,
            level=level,
            token=token,
            complete_until=self.history.complete_until,
            now=time.monotonic(),
            visitor=visitor,
            zone=self._zone,
            ramp=self._ramp,
        )

    def spares_replicas(self, visitor: int | None) -> bool:
        """Whether a read goes to the primary because every replica has just come back, and is cold.

        Args:
            visitor: who keeps their replica; ``None``: nobody in particular, who moves with the process.
        """
        if self.returned == -math.inf:
            return False
        drawn = self._drawn if visitor is None else visitor / 2**64
        return (
            drawn >= share(self.returned, now=time.monotonic(), ramp=self._ramp)
            and self.has_primary()
            and self.fallback.has_room()
        )

    def confirm(
        self, choice: Choice[Member], level: Consistency, token: Token | None, connection: Any
    ) -> bool:
        """Whether the read may run over ``connection``; asks over it where what is known is not enough.

        Args:
            choice: that led to the connection.
            level: how fresh the read must be.
            token: what the visitor was promised.
            connection: the DBAPI connection, idle: before the snapshot of what is to be read.
        """
        if level is ANY:
            return True
        member, token = choice.member, self._comparable(token)
        # The choice was made by what the probe's server said, which need not be the one at this end.
        known = member.known_over(connection)
        if known is not None and choice.ask is None and self._suffices(known, level, token):
            return True
        report = self._told_over(member, connection, member.ask_over(connection))
        if token is not None and not report.reached.covers(token) and self._is_near(report):
            later = member.wait_over(connection, token, _PATIENCE)
            if later is not None:
                report = self._told_over(member, connection, later)
        if report.writable or report.epoch != self.epoch:
            return False
        lag = self.history.lag(report.reached)
        return (lag is None or lag <= self.max_lag) and self._suffices(report, level, token)

    def _told_over(self, member: Member, connection: Any, report: Report) -> Report:
        report = self.promotions.whole(report)
        if member.known_over(connection) is not None:
            self.heard(member, report, asked=report.asked)
        return report

    def _is_near(self, report: Report) -> bool:
        """Whether a replica is about to have what was committed just now."""
        lag = self.history.lag(report.reached)
        return not report.writable and report.epoch == self.epoch and lag is not None and lag <= _PATIENCE

    def knows(self, member: Member, connection: Any, level: Consistency, token: Token | None) -> bool:
        """Whether the replica ``member``, over that DBAPI connection, is fresh enough. Asks nothing."""
        choice = self.choose(level, token, frozenset(self.members) - {member})
        if choice is None or choice.ask is not None:
            return False
        if level is ANY:
            return True
        known = member.known_over(connection)
        return known is not None and self._suffices(known, level, self._comparable(token))

    def _suffices(self, report: Report, level: Consistency, token: Token | None) -> bool:
        if isinstance(level, Bounded):
            until = self.history.complete_until(report.reached)
            if until is None or until < time.monotonic() - level.seconds:
                return False
        return token is None or report.reached.covers(token)

    def _comparable(self, token: Token | None) -> Token | None:
        # One of another database, which this one replaced, promises nothing any more.
        return token if token is not None and token.system == self.system else None

    def _can_compare(self, token: Token) -> bool:
        if token.epoch >= self.epoch:
            return token.epoch == self.epoch
        # What the primary has of an earlier epoch is all that is left of it.
        primary = self.primary
        return primary is not None and primary.reached.covers(token)

    def writer(self, token: Token | None = None) -> Member:
        """The primary; waits a moment for one that is there and answers.

        Args:
            token: what the visitor was promised.

        Raises:
            NoServerAvailable: there is none; says of each member why. Or the visitor comes from a primary
                that was promoted after every one that is known here.
        """
        token = self._comparable(token)
        if token is not None and token.epoch > self.epoch:
            self._await_epoch(token.epoch)
        if self.primary is None or (self.primary.suspected and not self.single):
            self.monitor.poke()
            self.monitor.wait(lambda: self.has_primary() or self._is_refused(), self.failover_wait)
        primary = self.primary
        if primary is None or (primary.suspected and not self.single):
            # A pooled connection to one that does not answer would be waited on for ever.
            cure = f"; {NOBODY_WRITES}" if self.nobody_writes() else ""
            raise NoServerAvailable(f"no primary to write to or read from: {self.explain()}{cure}")
        return primary

    def _await_epoch(self, epoch: int) -> None:
        """Another process of ours has seen a promotion that has not come to our ears.

        Whoever we think is the primary was replaced. One wait for each promotion, not one for each visitor.
        """
        now = time.monotonic()
        if self._awaited is None or self._awaited[0] < epoch:
            self._awaited = epoch, now + self.failover_wait
            self.monitor.poke()
        left = self._awaited[1] - now
        if left > 0:
            self.monitor.wait(lambda: self.epoch >= epoch, left)
        if self.epoch < epoch:
            raise NoServerAvailable(
                f"this visitor has written on timeline {epoch}, and no member answers from there: "
                f"{self.explain()}; is the new primary one of the members, and can it be reached?"
            )

    def has_primary(self) -> bool:
        """Whether there is a primary that answers, as far as is known."""
        return self.primary is not None and self.primary.suspected is None

    def _is_refused(self) -> bool:
        return all(member.probe.refused for member in self.members)

    def any_engine(self) -> Engine:
        """An engine for those who want to know the dialect."""
        return (self.primary or self.members[0]).writer

    def _most_fallback_reads(self) -> int | None:
        if self._fallback_reads is not None:
            return self._fallback_reads
        capacity = (self.primary or self.members[0]).capacity
        return None if capacity is None else max(1, capacity // 2)

    def _reasons_of_replicas(self) -> dict[str, str]:
        fine = "has not got what was to be read"
        return {
            member.name: fine if member in self.readers else self.state(member)
            for member in self.members
            if member is not self.primary
        }
