"""Defaults that were handed out: none of the session's data until they are changed in place."""

from collections.abc import Callable
from typing import Any

from scalekit.errors import SessionValueError
from scalekit.sessions.codec import Codec


class Offers:
    """What was handed out by key, with the bytes that it was then."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._made: dict[str, tuple[Any, bytes]] = {}

    def get(self, key: str, make: Callable[[], Any]) -> Any:
        """The default of ``key``, the same until it is taken or dropped.

        Raises:
            SessionValueError: a default that cannot be stored.
        """
        if key not in self._made:
            value = make()
            self._made[key] = value, self._codec.encode(key, value)
        return self._made[key][0]

    def take(self) -> dict[str, Any]:
        """Those that have been changed; from now on they are values like any other."""
        changed = [key for key, (value, data) in self._made.items() if not self._is(key, value, data)]
        return {key: self._made.pop(key)[0] for key in changed}

    def drop(self, key: str) -> None:
        """Forget a default: whoever holds it changes nothing any more."""
        self._made.pop(key, None)

    def _is(self, key: str, value: Any, data: bytes) -> bool:
        try:
            return self._codec.encode(key, value) == data
        except SessionValueError:
            return False  # it was changed to what cannot be stored; the save will say so
