"""The age of a replica's data, from the primary's recent positions. Pure."""

from typing import NamedTuple

from scalekit.database.report import Report
from scalekit.database.tokens import Reached, Token

_REMEMBERED = 1_000


class _Sample(NamedTuple):
    asked: float
    written: Token
    flushed: Token
    flush_delay: float


class History:
    """The primary's recent positions, from which the age of a replica's data follows."""

    def __init__(self) -> None:
        # Replaced, never changed: readers go through it while the monitor adds to it.
        self._samples: tuple[_Sample, ...] = ()
        self._since = 0.0

    def add(self, report: Report) -> None:
        """Remember what the primary said; a report from another epoch or system starts afresh."""
        if report.written is None or report.flushed is None:
            return
        samples, afresh = self._samples, not self._samples
        if samples:
            last = samples[-1]
            if not last.written.same_history(report.written):
                samples, afresh = (), True
            elif report.asked <= last.asked:
                return
            elif (last.written, last.flushed) == (report.written, report.flushed):
                # An idle primary: everything up to here was still everything, later.
                samples = samples[:-1]
        if afresh:
            self._since = report.asked
        sample = _Sample(report.asked, report.written, report.flushed, report.flush_delay)
        self._samples = (*samples[1 - _REMEMBERED :], sample)

    def complete_until(self, reached: Reached) -> float | None:
        """The latest moment (monotonic) of which who has ``reached`` has every commit."""
        for sample in reversed(self._samples):
            # The position was taken after `asked`, so it covers every commit acknowledged before it.
            if reached.covers(sample.written):
                return sample.asked
            # What is inserted and not flushed is no commit, or one acknowledged before its flush, which
            # follows within the delay.
            if reached.covers(sample.flushed):
                return sample.asked - sample.flush_delay
        return None

    def lag(self, reached: Reached) -> float | None:
        """Seconds that ``reached`` is behind the primary's newest known one; ``None`` if unknown.

        How far behind it seems to be, and so no promise: that is :meth:`complete_until`.
        """
        samples = self._samples
        if not samples:
            return None
        until = self.complete_until(reached.furthest)
        newest = samples[-1].asked
        return float("inf") if until is None else max(0.0, newest - until)

    def reaches_back(self, seconds: float, *, epoch: int) -> bool:
        """Whether the primary of ``epoch`` has been watched for so long."""
        samples = self._samples
        if not samples or samples[-1].written.epoch != epoch:
            return False
        return samples[-1].asked - self._since >= seconds
