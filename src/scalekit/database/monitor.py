"""What the rest of a cluster needs of whoever asks the members in the background."""

from collections.abc import Callable
from typing import Protocol


class Monitor(Protocol):
    """Asks the members in the background; one implementation a colour."""

    def start(self) -> None:
        """Start asking, unless that is done. Cheap; called with each transaction."""
        ...

    def poke(self) -> None:
        """Ask everyone now."""
        ...

    def wait(self, condition: Callable[[], bool], timeout: float) -> None:
        """Return when ``condition`` holds, or after ``timeout`` seconds."""
        ...

    def members_changed(self) -> None:
        """Others are to be asked than before."""
        ...

    def signal_stop(self) -> None:
        """Stop asking, soon."""
        ...

    def changed(self) -> None:
        """Something a waiter may be waiting for has happened."""
        ...
