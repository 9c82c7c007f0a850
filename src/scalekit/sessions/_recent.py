"""Which sessions this process has just seen, so that it need not ask whether to extend them."""

import time

_MOST = 10_000


class Recent:
    """When sessions were last seen, by a clock of this process that nobody can set."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def __contains__(self, within: tuple[str, int]) -> bool:
        id, step = within
        seen = self._seen.get(id)
        return seen is not None and (time.monotonic() - seen) * 1000 < step

    def note(self, id: str, age: int, asked: float) -> None:
        """At ``asked`` (``time.monotonic()``) or later the store said that it was seen ``age`` ms before."""
        if len(self._seen) >= _MOST:
            self._seen.clear()  # what is asked for often is soon back
        self._seen[id] = asked - age / 1000

    def forget(self, id: str) -> None:
        self._seen.pop(id, None)
