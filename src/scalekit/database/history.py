"""The age of a replica's data, from the primary's recent positions. Pure.

Rules:

* Who has one position has all before it, so that the newest which a replica has is found by halving. Where
  positions do not go on, as after a crash that lost some or from the next primary on, another run begins.
"""

from bisect import bisect_left
from typing import NamedTuple

from scalekit.database.report import Report
from scalekit.database.tokens import Reached, Token

_REMEMBERED = 1_000
_RUNS = 16


class _Sample(NamedTuple):
    asked: float
    written: Token
    flushed: Token
    flush_delay: float

    def follows(self, other: "_Sample") -> bool:
        """Whether who has this has the ``other``."""
        return self.written.includes(other.written) and self.flushed.includes(other.flushed)


class History:
    """The primary's recent positions, from which the age of a replica's data follows."""

    def __init__(self) -> None:
        # Replaced, never changed: readers go through it while the monitor adds to it. The oldest first.
        self._runs: tuple[tuple[_Sample, ...], ...] = ()
        self._since = 0.0

    def add(self, report: Report) -> None:
        """Remember what the primary said; a report from another epoch or system starts afresh."""
        if report.written is None or report.flushed is None:
            return
        sample = _Sample(report.asked, report.written, report.flushed, report.flush_delay)
        runs = self._runs
        if not runs or not runs[-1][-1].written.same_history(sample.written):
            earlier: list[tuple[_Sample, ...]] = []
            run: tuple[_Sample, ...] = ()
            self._since = sample.asked
        else:
            *earlier, run = runs
            last = run[-1]
            if sample.asked <= last.asked:
                return
            elif (last.written, last.flushed) == (sample.written, sample.flushed):
                # An idle primary: everything up to here was still everything, later.
                run = run[:-1]
            elif not sample.follows(last):
                earlier, run = [*earlier[2 - _RUNS :], run], ()
        self._runs = (*earlier, (*run[1 - _REMEMBERED :], sample))

    def complete_until(self, reached: Reached) -> float | None:
        """The latest moment (monotonic) of which who has ``reached`` has every commit."""

        def lacks(sample: _Sample) -> bool:
            return not (reached.covers(sample.flushed) or reached.covers(sample.written))

        for run in reversed(self._runs):
            # Nearly always it is the newest.
            had = bisect_left(run, True, key=lacks) if lacks(run[-1]) else len(run)
            if had:
                sample = run[had - 1]
                # The position was taken after `asked`, so it covers every commit acknowledged before it. What
                # is inserted and not flushed is no commit, or one acknowledged before its flush, which
                # follows within the delay.
                return sample.asked - (0.0 if reached.covers(sample.written) else sample.flush_delay)
        return None

    def lag(self, reached: Reached) -> float | None:
        """Seconds that ``reached`` is behind the primary's newest known one; ``None`` if unknown.

        How far behind it seems to be, and so no promise: that is :meth:`complete_until`.
        """
        runs = self._runs
        if not runs:
            return None
        until = self.complete_until(reached.furthest)
        newest = runs[-1][-1].asked
        return float("inf") if until is None else max(0.0, newest - until)

    def reaches_back(self, seconds: float, *, epoch: int) -> bool:
        """Whether the primary of ``epoch`` has been watched for so long."""
        runs = self._runs
        if not runs or runs[-1][-1].written.epoch != epoch:
            return False
        return runs[-1][-1].asked - self._since >= seconds
