"""Who is the primary and who may be read from: decided from what the members said about themselves.

Pure: no I/O and no clock of its own. Rules:

* The primary is the writable member of our system on the highest timeline ever seen. A writable member
  on an older one is a primary that was replaced; it gets nothing.
* A member that was away is made primary only after every other member was asked since its return: it
  may have been replaced meanwhile.
* A replica is read from only on the primary's timeline, within ``max_lag``, and while it answers.
* A member of another system is never used.
* Lag is measured against the primary's own positions, stamped with this process's clock, so that
  neither an idle primary nor a wrong clock on a server looks like lag.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

_PAGE = 8192
_SHORT_HEADER, _LONG_HEADER = 24, 40
_REMEMBERED = 1_000


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


@dataclass(frozen=True, slots=True)
class Survey:
    """What follows from the members' reports; indices are positions in the list of members.

    Args:
        primary: the member to write to, or ``None``.
        readers: the replicas to read from.
        reasons: for each member why it is left out, or ``None``.
        system: our system identifier, or ``None`` while it is not known.
        timeline: the current timeline, 0 while it is not known.
    """

    primary: int | None
    readers: tuple[int, ...]
    reasons: tuple[str | None, ...]
    system: int | None
    timeline: int


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


def survey(
    members: Sequence[Health], *, history: History, max_lag: float, timeline: int, previous: int | None
) -> Survey:
    """Decide the roles.

    Args:
        members: the configured primary first.
        history: the primary's positions.
        max_lag: seconds of lag beyond which a replica is left out.
        timeline: the highest timeline seen so far.
        previous: the member that was primary; it stays so when two claim to be.
    """
    system = _system(members)
    ours = [one.report for one in members if one.report is not None and one.report.system == system]
    timeline = max([timeline, *(report.timeline for report in ours)])
    reasons = [_reason(one, members, system, timeline) for one in members]
    fit = [index for index, reason in enumerate(reasons) if reason is None]
    writable = [index for index in fit if (report := members[index].report) and report.writable]
    primary = previous if previous in writable else next(iter(writable), None)
    readers = []
    for index, one in enumerate(members):
        if reasons[index] is not None or one.report is None or index == primary:
            continue
        lag = history.lag(one.report.position)
        if one.report.writable:
            reasons[index] = f"a second writable server on timeline {timeline}"
        elif lag is not None and lag > max_lag:
            reasons[index] = f"lags more than {max_lag:g} s behind"
        else:
            readers.append(index)
    return Survey(primary, tuple(readers), tuple(reasons), system, timeline)


def _system(members: Sequence[Health]) -> int | None:
    """The configured primary says which system is ours; without it, its replicas if they agree."""
    if members[0].report is not None:
        return members[0].report.system
    systems = {one.report.system for one in members if one.report is not None}
    return systems.pop() if len(systems) == 1 else None


def _reason(one: Health, members: Sequence[Health], system: int | None, timeline: int) -> str | None:
    if one.failure is not None:
        return one.failure
    report = one.report
    if report is None:
        return "has not answered yet"
    if report.system != system:
        return f"belongs to another database system ({report.system})"
    if report.timeline != timeline:
        role = "an old primary" if report.writable else "a replica"
        return f"{role} on timeline {report.timeline}; the current one is {timeline}"
    returned = one.returned
    if report.writable and returned is not None and any(m.asked < returned for m in members if m is not one):
        return "was away; the others are being asked whether it was replaced"
    return None


def last_record_end(position: int, *, segment_size: int) -> int:
    """The end of the last record, given an insert position.

    The insert position skips a page header that a replica has yet to see, so an idle primary at a page
    boundary would look forever ahead of a replica that has everything.
    """
    if position % segment_size == _LONG_HEADER:
        return position - _LONG_HEADER
    if position % _PAGE == _SHORT_HEADER:
        return position - _SHORT_HEADER
    return position
