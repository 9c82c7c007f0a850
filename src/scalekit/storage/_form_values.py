"""What a form contained, once it is there."""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from scalekit.errors import MissingPart
from scalekit.storage._values import UploadedFile

V = TypeVar("V")


class Values(Mapping[str, V], Generic[V]):
    """Names and values of a form. ``[name]`` is a name's last value, :meth:`getlist` all of them in order.

    A name that the client did not send is the client's fault: ``[name]`` raises
    :class:`~scalekit.errors.MissingPart`, a ``KeyError`` that is answered with 400. Where it may be missing,
    use ``get``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._values: dict[str, list[V]] = {}

    def __getitem__(self, name: str) -> V:
        if name not in self._values:
            raise MissingPart(name, kind=self._kind)
        return self._values[name][-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"

    def getlist(self, name: str) -> list[V]:
        """All values of ``name``; an empty list if there is none."""
        return list(self._values.get(name, ()))

    def add(self, name: str, value: V) -> None:
        self._values.setdefault(name, []).append(value)


class Form:
    """What a form contained."""

    def __init__(self) -> None:
        self.fields: Values[str] = Values("field")
        self.files: Values[UploadedFile] = Values("file")
