"""What a member said about itself, and what this process makes of its silence."""

import math
from dataclasses import dataclass

from scalekit.database.tokens import Reached, Token


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a member said about itself.

    Args:
        asked: when the question left, on this process's monotonic clock.
        writable: it is no replica.
        reached: what it has: of a primary up to its insert position, of a replica what it has replayed.
        epoch: the timeline it writes or replays; a replica may name an older one, never a newer. 0 where
            servers count no promotions.
        order: grows with what it has; tells which of two replicas is ahead, and nothing else.
        written: where a primary's log ends; ``None`` on a replica.
        flushed: up to where a primary's log is flushed; ``None`` on a replica.
        flush_delay: seconds after which a commit is flushed at the latest, even an asynchronous one.
        server: which process of which server this is; another one after a restart.
        run: another text when that process has started anew within itself, as PostgreSQL does when one of its
            backends is killed: a replica may be behind then where it was before. Equal texts are of one run;
            different ones, and empty ones, tell nothing.
        since: when the connection was opened that this was said over (monotonic). None outlives a run, so
            that this one had begun by then.
        shown: its position in the server's own notation, for people.
        read_only: whether the connections that are opened for reading refuse to write.
        replayed: of a primary that was a replica: up to where it had replayed when it was promoted, as
            :attr:`order` counts and as the server writes it.
        own: its name among the servers of its system, which is the server in the origins, ``line:server``, of
            what it writes itself; ``None`` where servers have none.
        peers: the names of those servers, where they know each other, and its own; empty if it was not asked
            for them. ``None`` where they do not.
        version: of the server, as it counts them; 0 if that does not matter.
    """

    asked: float
    writable: bool
    reached: Reached
    epoch: int
    order: int
    written: Token | None
    flushed: Token | None
    flush_delay: float
    server: str
    shown: str
    read_only: bool = True
    replayed: tuple[int, str] | None = None
    own: str | None = None
    peers: frozenset[str] | None = None
    version: int = 0
    run: str = ""
    since: float = math.inf

    def is_of_the_run_of(self, seen: "Report", *, at: float) -> bool:
        """Whether the server has not been restarted in any way since what was ``seen``. False if unknown.

        Args:
            seen: what it had said over the connection that was read over.
            at: a moment (monotonic), not before which that connection has answered.
        """
        return self.server == seen.server and (self.since <= at or self.run == seen.run != "")

    def is_restarted(self, later: "Report") -> bool:
        """Whether the server, or another one in its place, has started anew by what it said ``later``."""
        if self.server != later.server:
            return True
        # Statistics that were reset tell of no restart to whose connection has survived that.
        return later.since > self.asked and self.run != later.run and "" not in (self.run, later.run)

    @property
    def most(self) -> Token | None:
        """Of a primary: all that its replicas can have shown by then; ``None`` of a replica."""
        return self.written if self.reached.seen is None else self.reached.token(self.epoch)

    @property
    def system(self) -> str:
        """Which family of servers it belongs to."""
        return self.reached.system


@dataclass(slots=True)
class Health:
    """What this process knows about one member.

    Args:
        report: its last answer.
        failure: why the last question failed, or ``None``.
        asked: when the last question left.
        returned: when it was heard again after it had failed or been restarted.
        away: it is left out, or has to catch up, since it was.
        admitted: when it was read from again.
        served: it has been read from.
        foreign: why it does not belong to the primary, or ``None``.
    """

    report: Report | None = None
    failure: str | None = None
    asked: float = float("-inf")
    returned: float | None = None
    away: bool = False
    admitted: float = float("-inf")
    served: bool = False
    foreign: str | None = None

    def is_overtaken(self, outcome: Report | str, *, asked: float) -> bool:
        """Whether the answer to a later question has told something else already.

        Several threads ask, and who asked first may be the last to tell. What the same server says of itself
        in the same role is a lower bound, and may come late.
        """
        if isinstance(outcome, str) or asked >= self.asked:
            return False
        known = self.report
        return (
            self.failure is not None
            or known is None
            or (known.server, known.epoch, known.writable)
            != (outcome.server, outcome.epoch, outcome.writable)
        )

    def answered(self, report: Report) -> None:
        """A question was answered."""
        if self.failure is not None:
            self.returned = report.asked
        self.report, self.failure, self.asked = report, None, report.asked

    def failed(self, reason: str, *, asked: float) -> None:
        """A question, and the same question on a new connection, failed."""
        self.failure, self.asked = reason, asked

    def restarted(self, report: Report) -> None:
        """The answer is another server process's, which may be behind the one before it."""
        self.returned, self.away = report.asked, True
