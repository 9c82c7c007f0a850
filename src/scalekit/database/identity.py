"""Who is at the other end of a connection. Pure.

A name may lead to several servers: the endpoint of a cloud that spreads readers, a DNS name with two
addresses, a virtual address that moves. So what one connection has learned says nothing about another.

Rules:

* Each new connection is asked once who is there. A server of another system, one that a promotion has
  left behind, and a replica where writes are to go are never used.
* What is known about a member is what its probe was told. A connection to another server than the
  probe's is asked itself before each read that promises anything.
* Two servers that answer in turns, neither of them restarted, are two, and people are told.
"""

from scalekit.database.report import Report
from scalekit.database.systems import is_strange

SEVERAL = (
    "several servers answer to this name, so that each read asks how far its own is; give each of them "
    "a name of its own in replicas="
)


def objection(
    report: Report,
    *,
    read_only: bool,
    system: str | None,
    epoch: int,
    origins: frozenset[str] = frozenset(),
) -> str | None:
    """Why a new connection must not be used; ``None`` when it may be.

    Args:
        report: what the server at its other end said.
        read_only: what the connection is for.
        system: ours, ``None`` while it is not known.
        epoch: the current one, 0 while it is not known.
        origins: of what our primary has, where servers name no system.
    """
    if system is not None and report.system != system:
        return f"led to another database system ({report.system}, and ours is {system})"
    if report.epoch < epoch:
        return f"led to a server on timeline {report.epoch}; the current one is {epoch}"
    if not read_only and not report.writable:
        return "led to a replica, where the primary was to be"
    if is_strange(report, origins=origins):
        return "led to another database, which has nothing of what was written in ours"
    return None


class Identity:
    """Whether one name leads to one server."""

    def __init__(self) -> None:
        self.several = False
        self._stranger: tuple[str, float] | None = None

    def met(self, report: Report, last: Report | None) -> None:
        """A new connection led to ``report``'s server; the probe's ``last`` answer is of another, perhaps."""
        if last is not None and report.server != last.server:
            self._stranger = last.server, report.asked

    def probed(self, report: Report) -> bool:
        """The probe's server says ``report``. Whether it follows from that, and is news, that there are two.

        It was there before the other one answered and is there still: it was not restarted in between.
        """
        if self._stranger is None or self.several:
            return False
        server, moment = self._stranger
        self.several = report.server == server and report.asked > moment
        return self.several
