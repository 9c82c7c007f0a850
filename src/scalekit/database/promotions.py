"""What a new primary has of the history before it, and what was lost with the old one. Pure.

Rules:

* Where a new epoch leaves the one before is known from the new primary itself: up to where it had replayed
  when it was promoted. That is believed of a server process which was seen as a replica in the epoch before.
  Where epochs are missing in between, or seen by nobody here, nothing is known and nothing is claimed.
* Whoever is in the new epoch has the old one's history up to that point, as far as it has come itself.
* What a commit's answer promised is lost if the commit came after that point. Its position is known only to
  lie between where the log was before and after it; in between lies what others wrote meanwhile.
* Where servers count epochs, an epoch's number is the origin of its marks. Where they count none, the marks
  themselves tell: what the new primary has not, of what was acknowledged here, is lost.
"""

from dataclasses import dataclass, replace

from scalekit.database.report import Report
from scalekit.database.tokens import Reached, Token, latest

_REMEMBERED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A replica became the primary while this process was watching.

    Args:
        member: its name.
        timeline: the one that it writes; 0 where servers count none.
        position: of the last that it has from the old primary, as the server writes it; ``None`` if unknown.
        lost: whether commits that this process was told of are missing on it: ``True`` if so, ``False`` if
            not, ``None`` if that cannot be told.
        behind: bytes of the old primary's log between ``position`` and the last commit that this process was
            told of; 0 where that is before it, ``None`` if unknown, as it is where positions are no bytes.
    """

    member: str
    timeline: int
    position: str | None
    lost: bool | None
    behind: int | None


@dataclass(slots=True)
class _Acknowledged:
    """The last commit in one epoch: not ``before`` one position, not ``after`` another."""

    before: int = 0
    after: int = 0


class Promotions:
    """What is known about the epochs of one system."""

    def __init__(self, *, count: int = 0) -> None:
        self.known: tuple[Promotion, ...] = ()
        self.count = count  # of all that were ever seen, those of another system too
        self._ends: dict[int, int] = {}
        self._acknowledged: dict[int, _Acknowledged] = {}
        self._uncounted: Token | None = None

    def acknowledged(self, token: Token, *, since: Token | None) -> None:
        """A commit of this process reached ``token``; when it began the log was at ``since``, at least."""
        if not token.epoch:
            self._uncounted = latest(self._uncounted, token)
            return
        after = _number(token, token.epoch)
        if after is None:
            return
        before = _number(since, token.epoch) or 0
        last = self._acknowledged.setdefault(token.epoch, _Acknowledged())
        last.before, last.after = max(last.before, before), max(last.after, after)

    def learn(self, before: Report | None, now: Report) -> None:
        """What a member says ``now``, and what it had said ``before``, may tell where an epoch ended."""
        if (
            before is not None
            and now.replayed is not None
            and not before.writable
            and (before.system, before.server, before.epoch + 1) == (now.system, now.server, now.epoch)
        ):
            end = now.replayed[0]
            # Two that were promoted at once count the same: what both have is what is certain.
            self._ends[before.epoch] = min(end, self._ends.get(before.epoch, end))

    def whole(self, report: Report) -> Report:
        """``report`` with what its server has of earlier epochs."""
        marks, number, epoch = dict(report.reached.marks), report.order, report.epoch - 1
        while epoch in self._ends:
            number = min(number, self._ends[epoch])
            marks[str(epoch)] = number
            epoch -= 1
        if len(marks) == len(report.reached.marks):
            return report
        return replace(report, reached=Reached(report.system, marks))

    def promoted(self, member: str, report: Report) -> Promotion:
        """``member`` is the primary of a new epoch, and says so in ``report``."""
        end = self._ends.get(report.epoch - 1)
        lost, behind = self._loss(report.epoch)
        promotion = Promotion(
            member=member,
            timeline=report.epoch,
            position=report.replayed[1] if end is not None and report.replayed is not None else None,
            lost=lost,
            behind=behind,
        )
        return self._remember(promotion)

    def replaced(self, member: str, report: Report) -> Promotion:
        """``member`` took the place of another primary, says its ``report``, and nobody counts epochs."""
        told, self._uncounted = self._uncounted, None  # told once
        if told is None:
            lost: bool | None = False
        else:
            lost = not report.reached.covers(told) if told.is_known else None
        promotion = Promotion(
            member=member,
            timeline=0,
            position=report.replayed[1] if report.replayed is not None else None,
            lost=lost,
            behind=0 if lost is False else None,
        )
        return self._remember(promotion)

    def promoted_beside(self, member: str, report: Report) -> Promotion:
        """``member`` is the primary of the same epoch as the one before it.

        Both were promoted from the epoch before that, the second one without having heard of the first:
        what the first one wrote is in no history of the second, and their numbers look alike.
        """
        self._acknowledged.pop(report.epoch, None)
        promotion = Promotion(member=member, timeline=report.epoch, position=None, lost=None, behind=None)
        return self._remember(promotion)

    def late(self) -> Promotion | None:
        """The last promotion, if it lost what was acknowledged after it was told of."""
        if not self.known:
            return None
        *earlier, last = self.known
        lost, behind = self._loss(last.timeline)
        if lost is False:
            return None
        last = replace(last, lost=lost or last.lost, behind=behind)
        self.known = (*earlier, last)
        return last

    def _remember(self, promotion: Promotion) -> Promotion:
        self.known = (*self.known, promotion)[-_REMEMBERED:]
        self.count += 1
        return promotion

    def _loss(self, epoch: int) -> tuple[bool | None, int | None]:
        lost: bool | None = False
        behind = 0
        for old in sorted(one for one in self._acknowledged if one < epoch):
            last = self._acknowledged.pop(old)  # told once
            if any(one not in self._ends for one in range(old, epoch)):
                return None, None
            end = self._ends[old]
            if last.before >= end:
                lost = True
            elif last.after > end and not lost:
                lost = None
            behind = max(behind, last.after - end)
        return lost, behind


def _number(token: Token | None, epoch: int) -> int | None:
    return None if token is None else dict(token.marks).get(str(epoch))
