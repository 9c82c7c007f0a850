"""Who is what right now, from what the members say about themselves.

One object for both colours. The monitor reports every answer, and sessions what they have met; each time the
roles are decided anew (:mod:`.topology`), under a lock that can be taken twice, as those of :mod:`.links` and
:mod:`.scope` can. What came of it is plain attributes, which whoever asks reads without one.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

from sqlalchemy import URL

from scalekit.database.admission import settle
from scalekit.database.descent import Descent
from scalekit.database.directory import Directory
from scalekit.database.first_round import FirstRound
from scalekit.database.history import History
from scalekit.database.identity import Identity
from scalekit.database.losses import tell_losses
from scalekit.database.member import Member
from scalekit.database.monitor import Monitor
from scalekit.database.promotions import Promotions
from scalekit.database.reasons import News, Reason, Silence, Suspicion
from scalekit.database.replicas import Replica
from scalekit.database.report import Health, Report
from scalekit.database.scopes import Scopes
from scalekit.database.systems import STRANGE, has_of, is_left, is_strange
from scalekit.database.tokens import Token
from scalekit.database.topology import Survey, survey

_log = logging.getLogger("scalekit.database")

NOBODY_WRITES = "none of the members takes writes, all are replicas; is the primary's URL among them?"


class Roles:
    """The members of one cluster, and what each of them is.

    Args:
        members: what is said of each, the configured primary first.
        make: a member of what is said of it.
        directory: says which replicas there are now; ``None``: those, always.
        max_lag: seconds of lag beyond which a replica is left out.
        readmit_lag: seconds of lag beyond which one that is out stays out.
    """

    monitor: Monitor

    def __init__(
        self,
        members: Sequence[tuple[URL, Replica]],
        *,
        make: Callable[[URL, Replica], Member],
        directory: Directory | None,
        max_lag: float,
        readmit_lag: float,
    ) -> None:
        self._make, self.directory = make, directory
        self.members = tuple(self._new(url, said) for url, said in members)
        self.single = len(self.members) == 1 and directory is None
        self.listed = directory is None
        self.scopes = Scopes()
        self.max_lag, self._readmit_lag = max_lag, readmit_lag
        # Facts, which outlive what reset() forgets: a primary that was replaced stays so.
        self.system: str | None = None
        self.epoch = 0
        self._primary_epoch = 0
        self.promotions = Promotions()
        self._settled: str | None = None
        self._origins = frozenset[str]()
        self._replacement: str | None = None
        self._told_that_nobody_writes = False
        self.first_round = FirstRound(over=self.single)
        self.reset()

    def _new(self, url: URL, said: Replica) -> Member:
        member = self._make(url, said)
        member.on_promotion = lambda: self.monitor.poke()
        member.expected = lambda: (self.system, self.epoch, self._origins)
        return member

    def reset(self) -> None:
        """Forget what the members said."""
        self._lock = threading.RLock()  # what is collected meanwhile may commit in this very thread
        self.history = History()
        for member in self.members:
            member.health, member.identity, member.suspected = Health(), Identity(), None
        self._descents = {member: Descent() for member in self.members}
        self.primary: Member | None = self.members[0] if self.single else None
        self.readers: tuple[Member, ...] = ()
        self.returned = -math.inf
        """When the first of those that are read from came back; the others are colder."""
        self._previous: Member | None = None
        self.reasons: dict[Member, Reason | None] = {}
        self._news = News()
        self._settled = self._our_system()
        self.first_round = FirstRound(over=self.single)

    def forked(self) -> None:
        """This is another process, or another event loop: nothing that is open or known is ours."""
        for member in self.members:
            member.forked()
        self.reset()

    def heard(self, member: Member, outcome: Report | str, *, asked: float) -> None:
        """``member`` answered with a report, or a text says why it did not."""
        promotion = written = None
        with self._lock:
            before = self._previous
            if member.health.is_overtaken(outcome, asked=asked):
                return
            if isinstance(outcome, str):
                member.health.failed(outcome, asked=asked)
            else:
                member.suspected, member.told_full = None, False
                known = member.health.report
                self.promotions.learn(known, outcome)
                outcome = self.promotions.whole(outcome)
                member.health.answered(outcome)
                if known is not None and known.is_restarted(outcome) and not member.identity.several:
                    member.health.restarted(outcome)
                if not outcome.epoch:
                    self._compare(member, outcome)
            self._survey()
            if self.primary is member and isinstance(outcome, Report):
                self.history.add(outcome)
                written = outcome.written
                if not outcome.epoch and self.first_round.over:
                    self._remember_origins(outcome)
                if 0 < self._primary_epoch < outcome.epoch:
                    promotion = self.promotions.promoted(member.name, outcome)
                self._primary_epoch = outcome.epoch
                self._survey()
            again = not self.first_round.over and self.first_round.heard(
                member, failed=isinstance(outcome, str), members=self.members, listed=self.listed
            )
            after = self._previous
            if before is not None and after is not None and before != after:
                # Without epochs it may be the old one's silence that told.
                old, report = before.health.report, after.health.report
                if report is not None and not report.epoch:
                    promotion = self.promotions.replaced(after.name, report)
                elif (
                    report is not None
                    and old is not None
                    and old.writable
                    and (old.system, old.epoch) == (report.system, report.epoch)
                    and old.server != report.server
                ):
                    promotion = self.promotions.promoted_beside(after.name, report)
            news = self._find_news(told=after if before not in (None, after) else None)
        if written is not None:
            # Not under the lock: whoever holds a scope's may be about to tell of a commit here.
            self.scopes.heard(written, asked=asked)
        if promotion is not None:
            tell_losses(promotion)
        if before is not None and after is not None and before != after:
            _log.warning("%s is the primary now, in place of %s", after.name, before.name)
            # Whoever still waits on the old one must not be told later that it worked.
            before.cut_writes()
        _tell(news)
        if again:
            self.monitor.poke()
        self.monitor.changed()

    def _compare(self, member: Member, report: Report) -> None:
        """What a replica has, the primary must have too; where epochs are counted, they tell."""
        if not report.writable:
            self._descents.setdefault(member, Descent()).heard(report, arrived=time.monotonic())
            return
        others = [other.health for other in self.members if other is not member]
        strange = is_strange(report, origins=self._origins) and is_left(
            others, lambda other: has_of(self._origins, other)
        )
        member.health.foreign = STRANGE if strange else None
        if member is self.primary and not strange:
            for other, descent in self._descents.items():
                descent.compare(report)
                other.health.foreign = descent.foreign

    def _remember_origins(self, report: Report) -> None:
        """The primary of servers that name no system has what it says."""
        if is_strange(report, origins=self._origins):
            self._replacement = (
                "the database was replaced: its primary has nothing of what was written before"
            )
        self._origins = frozenset(report.reached.marks) or self._origins

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
            tell_losses(promotion)
        self.scopes.heard(token)

    def suspect(self, member: Member, reason: str) -> None:
        """A transaction could not use ``member``: nobody reads from it until it answers again."""
        with self._lock:
            member.suspected = reason
            self._survey()
            news = self._find_news()
        _tell(news)
        self.monitor.poke()

    def full(self, member: Member, reason: str, *, asked: float) -> None:
        """``member`` has no connection left to be asked over: what was known of it stays.

        It was asked all the same, so that a primary which has come back does not wait for its answer.
        """
        if not member.told_full:
            _log.warning("%s is used as before, and cannot be asked how it is: %s", member.name, reason)
        with self._lock:
            member.told_full, member.suspected = True, None
            member.health.asked = asked
            self._survey()
        self.monitor.changed()

    def doubt(self, member: Member, reason: str) -> None:
        """``member`` has not answered over an old connection, and is being asked over a new one.

        Reads on a replica are repeated elsewhere if it comes to that. What begins on a primary waits.
        """
        if member is self.primary:
            member.suspected = reason

    def _survey(self) -> None:
        found = self._ask_topology()
        if found.system != self.system and None not in (found.system, self.system):
            # The whole database was replaced; its epochs have nothing to do with the old ones.
            if self._our_system() is not None:
                self._replacement = (
                    f"the database was replaced: its system is {found.system} now, and was {self.system}; "
                    "what visitors were promised there counts no more"
                )
            self.epoch, self._previous, self._primary_epoch = 0, None, 0
            self.promotions = Promotions(count=self.promotions.count)
            found = self._ask_topology()
        self.system, self.epoch = found.system, found.epoch
        self.reasons = dict(zip(self.members, found.reasons, strict=True))
        self.primary = None if found.primary is None else self.members[found.primary]
        self._previous = self.primary or self._previous
        for index, member in enumerate(self.members):
            if index != found.primary and settle(member.health, reads=index in found.readers):
                member.counters.ejections += 1
        readers = [self.members[index] for index in found.readers]
        self.readers = tuple(member for member in readers if member.suspected is None)
        self.returned = min((member.admitted for member in self.readers), default=-math.inf)

    def _find_news(self, *, told: Member | None = None) -> list[tuple[int, str]]:
        """What is to be told of the members, and was not; at the start, when all of them have been asked.

        Args:
            told: of whom people hear that it is the primary now, in place of another.
        """
        found = []
        if self._replacement is not None:
            found.append((logging.WARNING, self._replacement))
            self._replacement = None
        for member in self.members:
            standing = self._standing(member)
            if (
                isinstance(standing, Reason)
                and not isinstance(standing, Silence)
                and not self.first_round.over
            ):
                continue
            news = self._news.of(member, member.name, standing)
            if news is not None and (member is not told or standing != "primary"):
                found.append(news)
        if not self._told_that_nobody_writes and self.nobody_writes():
            self._told_that_nobody_writes = True
            names = ", ".join(member.name for member in self.members)
            found.append((logging.WARNING, f"{NOBODY_WRITES} ({names})"))
        return found

    def nobody_writes(self) -> bool:
        """Whether all members are replicas, and none was ever anything else: a mistake in the set-up."""
        return (
            self._previous is None
            and self.first_round.over
            and all(self._standing(member) == "replica" for member in self.members)
        )

    def _standing(self, member: Member) -> Reason | Literal["primary", "replica"]:
        if member is self.primary:
            return "primary"
        reason = self.reasons.get(member)
        if reason is None and member.suspected is not None:
            return Suspicion(member.suspected)
        return "replica" if reason is None else reason

    def _our_system(self) -> str | None:
        """The system that is ours, once everybody has had the time to say so; also of the time before."""
        return self.system if self.first_round.over else self._settled

    def _ask_topology(self) -> Survey:
        return survey(
            [member.health for member in self.members],
            history=self.history,
            max_lag=self.max_lag,
            readmit_lag=min(self._readmit_lag, self.max_lag),
            epoch=self.epoch,
            previous=self.members.index(self._previous) if self._previous in self.members else None,
            known=self._our_system(),
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
                self._news.forget(member)
            self._survey()
            news = self._find_news()
        _tell(news)
        for member in left:
            _log.info("%s is no member any more; what runs on it goes on", member.name)
        return left

    def without_list(self) -> None:
        """Nobody could say which replicas there are; those that are known are what there is."""
        self.listed = True

    def explain(self) -> str:
        """What is known about each member, in one line."""
        return "; ".join(f"{member.name}: {self.state(member)}" for member in self.members)

    def state(self, member: Member) -> str:
        """Its role, or why it is left out."""
        if member is self.primary:
            return member.suspected or "primary"
        return self.reasons.get(member) or member.suspected or "replica"


def _tell(news: list[tuple[int, str]]) -> None:
    """Into the log, and not under a lock, which its handlers need not know of."""
    for level, text in news:
        _log.log(level, "%s", text)
