"""The members together: who is what right now, and which of them is to take the next transaction.

One object for both colours and all sessions of a cluster. The monitor reports what the members say; a
session asks :meth:`Fleet.choose` and :meth:`Fleet.writer`.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sqlalchemy import URL, Engine

from scalekit.database.admission import settle
from scalekit.database.backends.protocol import Backend
from scalekit.database.choice import Choice, choose
from scalekit.database.descent import Descent
from scalekit.database.directory import Directory
from scalekit.database.fallback import Fallback
from scalekit.database.history import History
from scalekit.database.identity import Identity
from scalekit.database.levels import ANY, Bounded, Consistency
from scalekit.database.member import Member
from scalekit.database.promotions import Promotion, Promotions
from scalekit.database.replicas import Replica
from scalekit.database.report import Health, Report
from scalekit.database.routing import Verdicts
from scalekit.database.scopes import Scopes
from scalekit.database.sqltext.postgresql import RULES
from scalekit.database.tokens import Token
from scalekit.database.topology import Mistake, Survey, survey
from scalekit.errors import NoServerAvailable

_log = logging.getLogger("scalekit.database")

# How long a replica that is hardly behind may take to have what was just committed, before the primary is
# asked instead: a few times what replay takes, and less than a person notices.
_PATIENCE = 0.05


class Monitor(Protocol):
    """Asks the members in the background; one implementation a colour."""

    def start(self) -> None:
        """Start asking, unless that is done. Cheap; called with each transaction."""
        ...

    def poke(self) -> None:
        """Ask everyone now."""
        ...

    def wait(self, condition: Callable[[], bool], timeout: float) -> None:
        """Return when ``condition`` holds, or after ``timeout`` seconds."""
        ...

    def members_changed(self) -> None:
        """Others are to be asked than before."""
        ...

    def changed(self) -> None:
        """Something a waiter may be waiting for has happened."""
        ...


class Fleet:
    """The members of one cluster.

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

    monitor: Monitor
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
        self._make, self.directory = make, directory
        self.members = tuple(self._new(url, said) for url, said in members)
        self.single = len(self.members) == 1 and directory is None
        self.listed = directory is None
        self.consistency = consistency
        self.replicas_usable = replicas_usable
        self.scopes = Scopes()
        self._fallback_reads = fallback_reads
        self.fallback = Fallback(
            lambda: self.monitor, limit=self._most_fallback_reads, reasons=self._reasons_of_replicas
        )
        # Of another kind, such as SQLite, to tell what a response has to wait for: what looks like no read.
        rules = RULES if backend is None else backend.rules
        self.verdicts = Verdicts(self.members[0].writer.dialect, rules)
        self._max_lag, self._readmit_lag, self._ramp, self._zone = max_lag, readmit_lag, ramp, zone
        # Facts, which outlive what reset() forgets: a primary that was replaced stays so.
        self.system: str | None = None
        self.epoch = 0
        self._primary_epoch = 0
        self.promotions = Promotions()
        self.failover_wait, self._startup_wait = failover_wait, startup_wait
        self.reset()

    def _new(self, url: URL, said: Replica) -> Member:
        member = self._make(url, said)
        member.on_promotion = lambda: self.monitor.poke()
        member.expected = lambda: (self.system, self.epoch)
        return member

    def reset(self) -> None:
        """Forget what the members said."""
        self._lock = threading.Lock()
        self.history = History()
        for member in self.members:
            member.health, member.identity, member.suspected = Health(), Identity(), None
        self._descents = {member: Descent() for member in self.members}
        self.primary: Member | None = self.members[0] if self.single else None
        self.readers: tuple[Member, ...] = ()
        self._previous: Member | None = None
        self._awaited: tuple[int, float] | None = None
        self.reasons: dict[Member, str | None] = {}
        self._surveyed = self.single
        self._unheard: dict[Member, int] = {}
        self._asked_again = False

    def forked(self) -> None:
        """This is another process, or another event loop: nothing that is open or known is ours."""
        for member in self.members:
            member.forked()
        self.fallback.forked()
        self.reset()

    # What the monitor and the sessions report.

    def heard(self, member: Member, outcome: Report | str, *, asked: float) -> None:
        """``member`` answered with a report, or a text says why it did not."""
        promotion = None
        with self._lock:
            before = self._previous
            if isinstance(outcome, str):
                member.health.failed(outcome, asked=asked)
            else:
                member.suspected = None
                known = member.health.report
                self.promotions.learn(known, outcome)
                outcome = self.promotions.whole(outcome)
                member.health.answered(outcome)
                if known is not None and known.server != outcome.server and not member.identity.several:
                    member.health.restarted(outcome)
                if not outcome.epoch:
                    self._compare(member, outcome)
            self._survey()
            if self.primary is member and isinstance(outcome, Report):
                self.history.add(outcome)
                if outcome.written is not None:
                    self.scopes.heard(outcome.written)
                if 0 < self._primary_epoch < outcome.epoch:
                    promotion = self.promotions.promoted(member.name, outcome)
                self._primary_epoch = outcome.epoch
                self._survey()
            again = not self._surveyed and self._count_round(member, failed=isinstance(outcome, str))
            after = self._previous
            if before is not None and after is not None and before != after:
                # Without epochs it may be the old one's silence that told.
                report = after.health.report
                if report is not None and not report.epoch:
                    promotion = self.promotions.replaced(after.name, report)
        if promotion is not None:
            _tell(promotion)
        if before is not None and after is not None and before != after:
            _log.warning("%s is the primary now, in place of %s", after.name, before.name)
            # Whoever still waits on the old one must not be told later that it worked.
            before.cut_writes()
        reason, health = self.reasons.get(member), member.health
        if isinstance(reason, Mistake) and not health.told and self._surveyed:
            _log.warning("%s is left out: %s", member.name, reason)
        health.told = isinstance(reason, Mistake) and self._surveyed
        if again:
            self.monitor.poke()
        self.monitor.changed()

    def _compare(self, member: Member, report: Report) -> None:
        """What a replica has, the primary must have too; where epochs are counted, they tell."""
        if not report.writable:
            self._descents.setdefault(member, Descent()).heard(report, arrived=time.monotonic())
        elif member is self.primary:
            for other, descent in self._descents.items():
                descent.compare(report)
                other.health.foreign = descent.foreign

    def committed(self, token: Token, *, since: Token | None) -> None:
        """A commit of this process was acknowledged.

        Args:
            token: where the log was afterwards.
            since: where it was at least when the transaction began, if that is known.
        """
        promotion = None
        with self._lock:
            self.promotions.acknowledged(token, since=since)
            if token.epoch < self._primary_epoch:
                promotion = self.promotions.late()
        if promotion is not None:
            _tell(promotion)
        self.scopes.heard(token)

    def _count_round(self, member: Member, *, failed: bool) -> bool:
        """Whether to ask everyone once more, before the first transaction.

        What a replica said before the primary had told its position cannot be compared with it.
        """
        self._unheard[member] = 0 if failed else self._unheard.get(member, 2) - 1
        left = [self._unheard.get(one) for one in self.members]
        first = self.listed and None not in left and not self._asked_again
        self._asked_again |= first
        self._surveyed = self._asked_again and all(count is not None and count <= 0 for count in left)
        return first and not self._surveyed

    def suspect(self, member: Member, reason: str) -> None:
        """A transaction could not use ``member``: nobody reads from it until it answers again."""
        with self._lock:
            member.suspected = reason
            self._survey()
        self.monitor.poke()

    def _survey(self) -> None:
        found = self._ask_topology()
        if found.system != self.system and None not in (found.system, self.system):
            # The whole database was replaced; its epochs have nothing to do with the old ones.
            self.epoch, self._previous, self._primary_epoch = 0, None, 0
            self.promotions = Promotions()
            found = self._ask_topology()
        self.system, self.epoch = found.system, found.epoch
        self.reasons = dict(zip(self.members, found.reasons, strict=True))
        self.primary = None if found.primary is None else self.members[found.primary]
        self._previous = self.primary or self._previous
        readers = [self.members[index] for index in found.readers]
        self.readers = tuple(member for member in readers if member.suspected is None)
        for index, member in enumerate(self.members):
            if index != found.primary and settle(member.health, reads=index in found.readers):
                member.counters.ejections += 1

    def _ask_topology(self) -> Survey:
        return survey(
            [member.health for member in self.members],
            history=self.history,
            max_lag=self._max_lag,
            readmit_lag=min(self._readmit_lag, self._max_lag),
            epoch=self.epoch,
            previous=self.members.index(self._previous) if self._previous in self.members else None,
        )

    def set_replicas(self, wanted: Sequence[tuple[URL, Replica]]) -> list[Member]:
        """The replicas are these from now on; returns who is no member any more.

        Whoever is the primary stays, and so does the one that was configured as such.
        """
        with self._lock:
            members = [self.members[0]]
            for url, said in wanted:
                same = [one for one in self.members[1:] if (one.url, one.pools) == (url, said.pools)]
                if same:
                    member = same[0]
                else:
                    member = self._new(url, said)
                    _log.info("%s is a member now", member.name)
                member.weight, member.zone = said.weight, said.zone
                members.append(member)
            if self._previous is not None and self._previous not in members:
                members.append(self._previous)
            left = [member for member in self.members if member not in members]
            self.members, self.listed = tuple(members), True
            for member in left:
                self._descents.pop(member, None)
            self._survey()
        for member in left:
            _log.info("%s is no member any more; what runs on it goes on", member.name)
        return left

    def without_list(self) -> None:
        """Nobody could say which replicas there are; those that are known are what there is."""
        self.listed = True

    # What sessions ask.

    def begin(self) -> None:
        """A transaction begins: there must be somebody who watches the members."""
        if self.single:
            return
        self.monitor.start()
        while not self._surveyed:
            facts = self.history
            self.monitor.wait(
                lambda facts=facts: self._surveyed or self.history is not facts,  # type: ignore[misc]
                self._startup_wait,
            )
            if self.history is facts:
                self._surveyed = True  # once per process: who has not answered by now is found when it does
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
            [member for member in self.readers if member not in without],
            level=level,
            token=token,
            complete_until=self.history.complete_until,
            now=time.monotonic(),
            visitor=visitor,
            zone=self._zone,
            ramp=self._ramp,
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
        return (lag is None or lag <= self._max_lag) and self._suffices(report, level, token)

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
        return level is ANY or member.known_over(connection) is not None

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
            self.monitor.wait(lambda: self._has_primary() or self._is_refused(), self.failover_wait)
        primary = self.primary
        if primary is None:
            raise NoServerAvailable(f"no primary to write to or read from: {self.explain()}")
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

    def _has_primary(self) -> bool:
        return self.primary is not None and self.primary.suspected is None

    def _is_refused(self) -> bool:
        return all(member.refused for member in self.members)

    def any_engine(self) -> Engine:
        """An engine for those who want to know the dialect."""
        return (self.primary or self.members[0]).writer

    def explain(self) -> str:
        """What is known about each member, in one line."""
        return "; ".join(f"{member.name}: {self.state(member)}" for member in self.members)

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

    def state(self, member: Member) -> str:
        """Its role, or why it is left out."""
        if member is self.primary:
            return member.suspected or "primary"
        return self.reasons.get(member) or member.suspected or "replica"


def _tell(promotion: Promotion) -> None:
    if promotion.lost is False:
        return
    if not promotion.timeline:
        _log.error(
            "%s took the place of the primary without all that had been acknowledged here; what it lacks is "
            "lost. Semi-synchronous replication prevents that",
            promotion.member,
        )
        return
    at = f"{promotion.member} was promoted to timeline {promotion.timeline}"
    if promotion.position is None:
        _log.warning("%s; whether commits that were acknowledged here are lost, nobody here can tell", at)
    elif promotion.lost:
        _log.error(
            "%s at %s without all of the old primary's log: what was committed in its last %d bytes is lost, "
            "though it was acknowledged; synchronous_standby_names prevents that",
            at, promotion.position, promotion.behind,
        )  # fmt: skip
    else:
        _log.warning(
            "%s at %s without all of the old primary's log: of what was acknowledged here in its last %d "
            "bytes, something may be lost",
            at, promotion.position, promotion.behind,
        )  # fmt: skip
