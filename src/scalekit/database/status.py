"""What this process knows about the members, for people and for metrics."""

from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Literal, TypeAlias

from scalekit.database.fleet import Fleet
from scalekit.database.identity import SEVERAL
from scalekit.database.promotions import Promotion

Role: TypeAlias = Literal["primary", "replica", "out", "single"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStatus:
    """One server, as this process sees it.

    Args:
        name: host, port and database.
        role: ``"primary"``; ``"replica"``, which may be read from; ``"out"``, which gets nothing;
            ``"single"``, which has nobody beside it, gets everything, and is not asked what it is.
        reason: why it is out, or ``None``.
        notice: what is wrong with it though it is used, or ``None``.
        lag: seconds, to a hundredth, that its data are behind the primary's newest known position; ``None``
            if unknown, as when it is farther behind than this process has watched the primary.
        timeline: how many promotions its history has seen; ``None`` if unknown.
        position: of its log, as the server writes it; ``None`` if unknown.
        in_flight: connections in use by this process.
        transactions: begun on it by this process.
        commits: of those, that changed something; the others read, or were rolled back.
        ejections: how often it was left out, by an answer or by the lack of one.
        questions: how often it was asked, before a read, what it has.
        repeats: statements that it refused, or did not finish, and that were repeated elsewhere.
        cancellations: statements that it cancelled because its replay had waited for them long enough.
    """

    name: str
    role: Role
    reason: str | None
    notice: str | None
    lag: float | None
    timeline: int | None
    position: str | None
    in_flight: int
    transactions: int
    commits: int
    ejections: int
    questions: int
    repeats: int
    cancellations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackStatus:
    """The reads that the primary has taken over from replicas that were out, or behind.

    Args:
        limit: how many it takes at a time; ``None`` for any number.
        in_flight: how many it has now.
        reads: how many there were.
        waits: how many of them had to wait for their turn.
        refused: how many ended in ``TooManyFallbackReads``.
    """

    limit: int | None
    in_flight: int
    reads: int
    waits: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A snapshot of a cluster. Counters begin with the process, or with the member, and only grow.

    Args:
        primary: the name of the member that gets the writes, ``None`` while there is none.
        members: the configured primary first.
        fallback: the reads that the primary has taken over.
        promotions: the last ten that this process has seen, oldest first, with what they lost.
        lookup_failure: why asking which replicas there are failed the last time, so that the list is older;
            ``None`` if it did not, or ``replicas=`` is a list.
    """

    primary: str | None
    members: tuple[MemberStatus, ...]
    fallback: FallbackStatus
    promotions: tuple[Promotion, ...] = ()
    lookup_failure: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """All of it as what JSON can hold, for a status page or a metrics exporter."""
        return asdict(self)


def snapshot(fleet: Fleet) -> Status:
    """The status of ``fleet`` right now. Asks nobody."""
    members = []
    for member in fleet.members:
        report = member.health.report
        role: Role = "out"
        if fleet.single:
            role = "single"
        elif member is fleet.primary:
            role = "primary"
        elif member in fleet.readers:
            role = "replica"
        lag = fleet.history.lag(report.reached) if report is not None else None
        if lag is not None:
            # JSON has no infinity, and a status page is read when something is wrong.
            lag = None if lag == inf else round(lag, 2)
        members.append(
            MemberStatus(
                name=member.name,
                role=role,
                reason=fleet.state(member) if role == "out" else None,
                notice=SEVERAL if member.identity.several else None,
                lag=0.0 if role == "primary" else lag,
                timeline=report.epoch or None if report is not None else None,
                position=report.shown if report is not None else None,
                in_flight=member.in_flight,
                transactions=member.transactions,
                commits=member.commits,
                **asdict(member.counters),
            )
        )
    return Status(
        primary=fleet.primary.name if fleet.primary else None,
        members=tuple(members),
        fallback=FallbackStatus(
            limit=None if fleet.single else fleet.fallback.limit,
            in_flight=fleet.fallback.in_flight,
            reads=fleet.fallback.reads,
            waits=fleet.fallback.waits,
            refused=fleet.fallback.refused,
        ),
        promotions=fleet.promotions.known,
        lookup_failure=None if fleet.directory is None else fleet.directory.failure,
    )
