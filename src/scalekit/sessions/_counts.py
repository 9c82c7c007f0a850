"""What a session store counts."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from scalekit._steps import Steps
from scalekit._tally import Tally
from scalekit.errors import BackendError
from scalekit.metrics import Metric
from scalekit.sessions.store import Loaded, Swapped

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
        self._read = Tally("scalekit_session_read_bytes", "Bytes of the sessions that were loaded.")
        self._written = Tally(
            "scalekit_session_written_bytes", "Bytes of what was created or changed in sessions."
        )
        self.did = self._operations.add
        self.trip = self._trips.add

    def watched(self, operation: str, steps: Steps[T], *, written: int = 0) -> Steps[T]:
        """``steps``, counted as an operation.

        Args:
            written: bytes that it writes, see :func:`size`, if it succeeds.
        """
        self.did(operation)
        try:
            result = yield from steps
        except BackendError:
            self._failures.add(operation)
            raise
        if operation == "load":
            self.loaded(result)
        elif written and (result.done if isinstance(result, Swapped) else result):
            self.wrote(written)
        return result

    def loaded(self, session: object) -> None:
        """A session was read, or what is left of one, or nothing."""
        if isinstance(session, Loaded) and session.fields:
            self._read.add_many(size(session.fields))

    def wrote(self, count: int) -> None:
        """So many bytes were."""
        self._written.add_many(count)

    def metrics(self) -> Iterator[Metric]:
        """See :class:`scalekit.metrics.Measured`."""
        yield self._operations.metric()
        yield self._failures.metric()
        yield self._trips.metric()
        yield self._read.metric()
        yield self._written.metric()


def size(fields: Mapping[bytes, bytes]) -> int:
    """Bytes of encoded keys and values."""
    return sum(map(len, fields)) + sum(map(len, fields.values()))
