"""The age of a replica's data, from the primary's recent positions. Pure."""

from collections import deque

from scalekit.database.report import Report

_REMEMBERED = 1_000


class History:
    """The primary's recent positions, from which the age of a replica's data follows."""

    def __init__(self) -> None:
        self._samples: deque[Report] = deque(maxlen=_REMEMBERED)

    def add(self, report: Report) -> None:
        """Remember what the primary said; a report from another timeline or system starts afresh."""
        if self._samples:
            last = self._samples[-1]
            if (last.system, last.timeline) != (report.system, report.timeline):
                self._samples.clear()
            elif report.asked <= last.asked:
                return
            elif (last.position, last.flushed) == (report.position, report.flushed):
                # An idle primary: everything up to here was still everything, later.
                self._samples.pop()
        self._samples.append(report)

    def complete_until(self, position: int) -> float | None:
        """The latest moment (monotonic) of which a replica at ``position`` has every commit, if known."""
        for sample in reversed(self._samples):
            # The position was taken after `asked`, so it covers every commit acknowledged before it.
            if position >= sample.position:
                return sample.asked
            # What is inserted and not flushed is no commit, or one acknowledged before its flush, which
            # follows within the delay.
            if position >= sample.flushed:
                return sample.asked - sample.flush_delay
        return None

    def lag(self, position: int) -> float | None:
        """Seconds that ``position`` is behind the primary's newest known one; ``None`` if unknown."""
        if not self._samples:
            return None
        until = self.complete_until(position)
        newest = self._samples[-1].asked
        return float("inf") if until is None else max(0.0, newest - until)
