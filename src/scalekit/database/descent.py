"""Whether a replica has only what its primary has. Pure.

For servers that name no system and count no epochs. Their numbers alone would let a replica of another
database, or one that a failover has left behind with what was lost, look up to date.

Where the servers of a system know each other, a replica has to know its primary, and that is all.

Rules:

* What a replica had when its answer arrived, the primary has in every answer to a later question.
* What a server numbered itself does not count: a statement that an operator ran on a replica is no descent.
"""

from scalekit.database.report import Report


class Descent:
    """What one member was last seen with, and whether the primary has it."""

    def __init__(self) -> None:
        self.foreign: str | None = None
        """Why it does not belong to the primary."""
        self._held: Report | None = None
        self._arrived = 0.0

    def heard(self, report: Report, *, arrived: float) -> None:
        """The member is a replica and said ``report``, which ``arrived`` then (monotonic)."""
        if self._held is None and report.peers != frozenset():
            self._held, self._arrived = report, arrived

    def compare(self, primary: Report) -> None:
        """The ``primary`` said what it has."""
        held = self._held
        if held is None or primary.asked < self._arrived:
            return
        self._held = None
        self.foreign = _stranger(held, primary) if held.peers is not None else _beyond(held, primary)


def _stranger(held: Report, primary: Report) -> str | None:
    if held.peers is None or primary.own in held.peers:
        return None
    others = ", ".join(sorted(held.peers))
    return (
        f"does not know the primary, {primary.own}, but {others}: it belongs to another cluster; is its URL "
        "right?"
    )


def _beyond(held: Report, primary: Report) -> str | None:
    beyond = [
        f"{origin.lstrip(':').replace(':', '-')}-{number}"
        for origin, number in sorted(held.reached.marks.items())
        if origin.split(":")[1] != held.own and primary.reached.marks.get(origin, 0) < number
    ]
    if not beyond:
        return None
    changes = ", ".join(beyond)
    return (
        f"has changes that the primary does not have ({changes}): it belongs to another database, or was "
        "left behind by a failover"
    )
