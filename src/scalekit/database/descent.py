"""Whether a replica has only what its primary has. Pure.

For servers that name no system and count no epochs. Their numbers alone would let a replica of another
database, or one that a failover has left behind with what was lost, look up to date.

Rules:

* What a replica had when its answer arrived, the primary has in every answer to a later question.
* What a server numbered itself does not count: a statement that an operator ran on a replica is no descent.
"""

from scalekit.database.report import Report


class Descent:
    """What one member was last seen with, and whether the primary has it."""

    def __init__(self) -> None:
        self.foreign: str | None = None
        """The changes that the primary does not have, as the servers write them."""
        self._held: Report | None = None
        self._arrived = 0.0

    def heard(self, report: Report, *, arrived: float) -> None:
        """The member is a replica and said ``report``, which ``arrived`` then (monotonic)."""
        if self._held is None:
            self._held, self._arrived = report, arrived

    def compare(self, primary: Report) -> None:
        """The ``primary`` said what it has."""
        held = self._held
        if held is None or primary.asked < self._arrived:
            return
        self._held = None
        beyond = [
            f"{origin.lstrip(':').replace(':', '-')}-{number}"
            for origin, number in sorted(held.reached.marks.items())
            if origin.split(":")[1] != held.own and primary.reached.marks.get(origin, 0) < number
        ]
        self.foreign = ", ".join(beyond) or None
