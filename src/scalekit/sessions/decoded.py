"""Values by key, each decoded when it is asked for: one that cannot be read spoils no other."""

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple

from scalekit.sessions.codec import Codec


class Unread(NamedTuple):
    """The bytes of a value that nobody has asked for."""

    data: bytes


class Decoded(MutableMapping[str, Any]):
    """A dictionary of encoded values. Looking a value up may raise ``SessionValueError``."""

    def __init__(self, codec: Codec, values: Mapping[str, bytes]) -> None:
        self._codec = codec
        self._values: dict[str, Any] = {}
        self.take(values)

    def take(self, values: Mapping[str, bytes]) -> None:
        """Values that somebody else has set."""
        self._values.update({key: Unread(data) for key, data in values.items()})

    def known(self) -> dict[str, Any]:
        """The values as far as they were asked for, or set; ``Unread`` in place of the others."""
        return self._values

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        if type(value) is Unread:
            value = self._values[key] = self._codec.decode(key, value.data)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
