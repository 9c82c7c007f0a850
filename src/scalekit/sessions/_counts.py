"""What a session store counts."""

from collections.abc import Iterator
from typing import TypeVar

from scalekit._steps import Steps
from scalekit._tally import Tally
from scalekit.errors import BackendError
from scalekit.metrics import Metric

T = TypeVar("T")

OPERATIONS = ("load", "save", "swap", "create", "destroy", "listed")
"""Those of :class:`scalekit.sessions.store.BoundStore`."""


class Counts:
    """The operations of one store in both colours, and what they cost."""

    def __init__(self) -> None:
        self._operations = Tally(
            "scalekit_session_operations",
            "Operations on sessions, by kind.",
            labels=["operation"],
            known=OPERATIONS,
        )
        self._failures = Tally(
            "scalekit_session_failures",
            "Operations that failed because of the store, by kind.",
            labels=["operation"],
            known=OPERATIONS,
        )
        self._trips = Tally("scalekit_session_round_trips", "Times that the store was asked.")
        self.did = self._operations.add
        self.trip = self._trips.add

    def watched(self, operation: str, steps: Steps[T]) -> Steps[T]:
        """``steps``, counted as an operation."""
        self.did(operation)
        try:
            return (yield from steps)
        except BackendError:
            self._failures.add(operation)
            raise

    def metrics(self) -> Iterator[Metric]:
        """See :class:`scalekit.metrics.Measured`."""
        yield self._operations.metric()
        yield self._failures.metric()
        yield self._trips.metric()
