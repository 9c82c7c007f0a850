"""What a member said about itself, and what this process makes of its silence."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a member said about itself.

    Args:
        asked: when the question left, on this process's monotonic clock.
        system: the system identifier.
        timeline: the timeline it writes or replays; a replica may name an older one, never a newer.
        writable: it is not in recovery.
        position: a primary's insert position, a replica's replay position.
        flushed: a primary's flushed position; the same as ``position`` on a replica.
        flush_delay: seconds after which a commit is flushed at the latest, even an asynchronous one.
        started: when the server process started, on its own clock.
        segment_size: bytes in a log file.
    """

    asked: float
    system: int
    timeline: int
    writable: bool
    position: int
    flushed: int
    flush_delay: float = 0.6
    started: float = 0.0
    segment_size: int = 16 * 2**20


@dataclass(slots=True)
class Health:
    """What this process knows about one member. ``failure`` says why the last question failed."""

    report: Report | None = None
    failure: str | None = None
    asked: float = float("-inf")
    returned: float | None = None

    def answered(self, report: Report) -> None:
        """A question was answered."""
        if self.failure is not None:
            self.returned = report.asked
        self.report, self.failure, self.asked = report, None, report.asked

    def failed(self, reason: str, *, asked: float) -> None:
        """A question, and the same question on a new connection, failed."""
        self.failure, self.asked = reason, asked
