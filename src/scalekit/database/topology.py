"""Who is the primary and who may be read from: decided from what the members said about themselves.

Pure: no I/O and no clock of its own. Rules:

* The primary is the writable member of our system on the highest timeline ever seen. A writable member
  on an older one is a primary that was replaced; it gets nothing.
* Where servers count no promotions, the primary stays so until it fails. A process that knows of none yet
  takes the writable member that has what every other one has, and more; if there is no such, none.
* A member that was away is made primary only after every other member was asked since its return: it
  may have been replaced meanwhile.
* A replica is read from only on the primary's timeline, within ``max_lag``, and while it answers. One that
  was out has to catch up (:mod:`.admission`).
* A member of another system is never used (:mod:`.systems`). Nor is the primary under a second name.
* A replica whose connections do not open read-only is not read from: they would write once it is promoted.
* Lag is measured against the primary's own positions, stamped with this process's clock, so that
  neither an idle primary nor a wrong clock on a server looks like lag.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scalekit.database.admission import lags
from scalekit.database.history import History
from scalekit.database.reasons import Astray, Mistake, Reason, Silence, Unsettled
from scalekit.database.report import Health
from scalekit.database.systems import find_system, stranger


@dataclass(frozen=True, slots=True)
class Survey:
    """What follows from the members' reports; indices are positions in the list of members.

    Args:
        primary: the member to write to, or ``None``.
        readers: the replicas to read from.
        reasons: for each member why it is left out, or ``None``.
        system: our system identifier, or ``None`` while it is not known.
        epoch: the current one, 0 while it is not known.
    """

    primary: int | None
    readers: tuple[int, ...]
    reasons: tuple[Reason | None, ...]
    system: str | None
    epoch: int


def survey(
    members: Sequence[Health],
    *,
    history: History,
    max_lag: float,
    readmit_lag: float = math.inf,
    epoch: int,
    previous: int | None,
    known: str | None = None,
) -> Survey:
    """Decide the roles.

    Args:
        members: the configured primary first.
        history: the primary's positions.
        max_lag: seconds of lag beyond which a replica is left out.
        readmit_lag: seconds of lag beyond which one that is out stays out.
        epoch: the highest seen so far.
        previous: the member that was primary; it stays so when two claim to be.
        known: the system that is ours, once that is settled.
    """
    system = find_system(members, known=known, previous=previous)
    ours = [one.report for one in members if one.report is not None and one.report.system == system]
    epoch = max([epoch, *(report.epoch for report in ours)])
    reasons = [
        _reason(one, members, system, epoch, settled=known is not None and index in (0, previous))
        for index, one in enumerate(members)
    ]
    fit = [index for index, reason in enumerate(reasons) if reason is None]
    writable = [index for index in fit if (report := members[index].report) and report.writable]
    for index, other in _twice(members, writable, previous).items():
        reasons[index] = Mistake(
            f"the same server as {_option(other)}, the primary; each server is given once, and replicas= "
            "lists replicas only"
        )
        writable.remove(index)
    primary = previous if previous in writable else next(iter(writable), None)
    if not epoch and primary != previous:
        primary = _first_seen(members, writable, reasons)
    readers = []
    for index, one in enumerate(members):
        if reasons[index] is not None or one.report is None or index == primary:
            continue
        if one.report.writable:
            reasons[index] = Reason("a second writable server" + (f" on timeline {epoch}" if epoch else ""))
        else:
            reasons[index] = lags(
                one,
                history=history,
                watched=primary is not None,
                max_lag=max_lag,
                readmit_lag=readmit_lag,
            )
            if reasons[index] is None:
                readers.append(index)
    return Survey(primary, tuple(readers), tuple(reasons), system, epoch)


def _twice(members: Sequence[Health], writable: Sequence[int], previous: int | None) -> dict[int, int]:
    """Members that are another one under another name, and which; the primary so far is the real one."""
    found: dict[int, int] = {}
    first: dict[str, int] = {}
    for index in sorted(writable, key=lambda index: index != previous):
        report = members[index].report
        if report is not None and first.setdefault(report.server, index) != index:
            found[index] = first[report.server]
    return found


def _option(index: int) -> str:
    return f"replicas[{index - 1}]" if index else "primary="


def _first_seen(
    members: Sequence[Health], writable: Sequence[int], reasons: list[Reason | None]
) -> int | None:
    """The primary of servers that count no promotions, for a process that knows of none so far.

    An old primary that came back looks like one, so all have to be heard first. The new one has what the old
    one wrote, and what it wrote itself.
    """
    waiting = any(one.report is None and one.failure is None for one in members)
    reports = {index: report for index in writable if (report := members[index].report)}
    written = [report.written for report in reports.values() if report.written is not None]
    ahead = [index for index, report in reports.items() if all(map(report.reached.covers, written))]
    if len(ahead) == 1 and not waiting:
        return ahead[0]
    for index in writable:
        reasons[index] = (
            Unsettled("the others are being asked whether it was replaced")
            if waiting
            else Reason(
                "one of several writable servers, and none has what all of them wrote and more; set "
                "read_only=1 on all but the primary"
            )
        )
    return None


def _reason(
    one: Health, members: Sequence[Health], system: str | None, epoch: int, *, settled: bool
) -> Reason | None:
    if one.failure is not None:
        return Silence(one.failure)
    report = one.report
    if report is None:
        return Unsettled("has not answered yet")
    if report.system != system and system is None:
        return Reason(f"belongs to the database system {report.system}, and which is ours is not known")
    if system is not None and report.system != system:
        return stranger(report.system, ours=system, settled=settled)
    if report.epoch != epoch:
        role = "an old primary" if report.writable else "a replica"
        return Reason(f"{role} on timeline {report.epoch}; the current one is {epoch}")
    if not report.writable and not report.read_only:
        return Mistake(
            "connections to it do not open read-only, as they do not through a pooler that drops start-up "
            "parameters; let it pass them on, or connect to the server itself"
        )
    if one.foreign is not None:
        return Astray(one.foreign) if report.writable else Mistake(one.foreign)
    returned = one.returned
    if report.writable and returned is not None and any(m.asked < returned for m in members if m is not one):
        return Unsettled("was away; the others are being asked whether it was replaced")
    return None
