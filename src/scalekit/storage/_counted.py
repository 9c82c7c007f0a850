"""What a storage counts: what was written and read through this process, and what failed."""

from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar, cast

from scalekit._tally import Tally
from scalekit.errors import BackendError, UploadFailed
from scalekit.metrics import Metric
from scalekit.storage._values import Opened, Stored

P = ParamSpec("P")
T = TypeVar("T")

_OPERATIONS = ("put", "open", "compose", "copy", "delete")


class Counts:
    """The operations of one storage."""

    def __init__(self) -> None:
        self._operations = Tally(
            "scalekit_storage_operations",
            "Operations on objects that succeeded, by kind; put is an upload.",
            labels=["operation"],
            known=_OPERATIONS,
        )
        self._failures = Tally(
            "scalekit_storage_failures",
            "Operations that failed because of the storage, by kind.",
            labels=["operation"],
            known=_OPERATIONS,
        )
        self._written = Tally("scalekit_storage_written_bytes", "Bytes of the objects that were put.")
        self._read = Tally(
            "scalekit_storage_read_bytes", "Bytes of the objects, or ranges, that were opened."
        )

    def did(self, operation: str) -> None:
        """It has succeeded."""
        self._operations.add(operation)

    def failed(self, operation: str) -> None:
        """The storage could not."""
        self._failures.add(operation)

    def wrote(self, size: int) -> None:
        """So many bytes were put."""
        self._written.add_many(size)

    def read(self, size: int) -> None:
        """So many bytes were opened."""
        self._read.add_many(size)

    def metrics(self) -> Iterator[Metric]:
        """See :class:`scalekit.metrics.Measured`."""
        for tally in (self._operations, self._failures, self._written, self._read):
            yield tally.metric()


class _Counting(Protocol):
    _counts: Counts


S = TypeVar("S", bound=_Counting)
_Method: TypeAlias = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def counted(method: _Method[S, P, T]) -> _Method[S, P, T]:
    """A method of a storage, counted as the operation of that name."""
    operation = method.__name__

    @wraps(method)
    async def counting(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            result = await method(self, *args, **kwargs)
        except (BackendError, UploadFailed):
            self._counts.failed(operation)
            raise
        self._counts.did(operation)
        if operation == "put" and isinstance(result, Stored):
            self._counts.wrote(result.size)
        elif isinstance(result, Opened):
            self._counts.read(_asked(result.stored.size, **cast(Any, kwargs)))
        return result

    return cast(_Method[S, P, T], counting)


def _asked(size: int, *, offset: int = 0, length: int | None = None) -> int:
    end = size if length is None else min(size, offset + length)
    return max(0, end - offset)
