"""What is known about the members, as metrics."""

from collections.abc import Callable, Iterator

from scalekit.database.status import MemberStatus, Status
from scalekit.metrics import Metric, Sample, counter, counters, gauge, gauges


def reported(status: Status, promotions: int) -> Iterator[Metric]:
    """The numbers of ``status``, by member, and how many promotions this process has seen."""

    def each(number: Callable[[MemberStatus], float | None]) -> dict[str, float]:
        found = ((member.name, number(member)) for member in status.members)
        return {name: value for name, value in found if value is not None}

    yield Metric(
        "scalekit_database_role",
        "gauge",
        "The servers and their roles: primary, replica, single, or out, which gets nothing.",
        tuple(Sample(1, {"member": member.name, "role": member.role}) for member in status.members),
    )
    yield gauges(
        "scalekit_database_up",
        "Whether the server is used, as this process sees it.",
        each(lambda member: member.role != "out"),
        label="member",
    )
    yield gauges(
        "scalekit_database_lag_seconds",
        "How far its data are behind the primary's; nothing where that is unknown.",
        each(lambda member: member.lag),
        label="member",
    )
    yield gauges(
        "scalekit_database_connections_in_use",
        "Connections of this process in use.",
        each(lambda member: member.in_flight),
        label="member",
    )
    for name, help, number in _COUNTERS:
        yield counters(f"scalekit_database_{name}", help, each(number), label="member")
    fallback = status.fallback
    yield counter(
        "scalekit_database_fallback_reads", "Reads that the primary took over from replicas.", fallback.reads
    )
    yield counter("scalekit_database_fallback_waits", "Of those, that had to wait.", fallback.waits)
    yield counter("scalekit_database_fallback_refused", "Of those, that were refused.", fallback.refused)
    yield gauge("scalekit_database_fallback_in_flight", "Of those, under way now.", fallback.in_flight)
    yield counter("scalekit_database_promotions", "Promotions that this process has seen.", promotions)


_COUNTERS: tuple[tuple[str, str, Callable[[MemberStatus], float]], ...] = (
    (
        "transactions",
        "Transactions begun on the server; on a replica they are all reads.",
        lambda member: member.transactions,
    ),
    (
        "commits",
        "Of those, that changed something; the others read, or were rolled back.",
        lambda member: member.commits,
    ),
    ("ejections", "Times that the server was left out.", lambda member: member.ejections),
    ("questions", "Times that it was asked before a read what it has.", lambda member: member.questions),
    ("repeats", "Statements that it did not finish and that were repeated.", lambda member: member.repeats),
    (
        "cancellations",
        "Statements that it cancelled because its replay had waited for them.",
        lambda member: member.cancellations,
    ),
)
