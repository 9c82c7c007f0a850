"""Servers that only make sense together."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from tests.servers.base import PortTaken, Server


class Group(ABC):
    """Several servers as one context manager. All are up and know each other when `start()` returns; when
    it fails half-way none is left. Each can be stopped, killed and started on its own in between."""

    def __init__(self) -> None:
        self._make()

    @property
    @abstractmethod
    def servers(self) -> Sequence[Server]:
        """All of them."""

    @abstractmethod
    def _make(self) -> None:
        """Create the servers, with ports that were not tried before."""

    @abstractmethod
    def _bring_up(self) -> None:
        """Start them (by `launch` and `wait_ready`) and wait until they know each other."""

    def start(self) -> Self:
        for retry in (True, True, False):
            try:
                self._bring_up()
            except PortTaken:
                self.close()
                if not retry:
                    raise
                self._make()
            except BaseException:
                self.close()
                raise
            else:
                break
        return self

    def close(self) -> None:
        """Stop all at once and remove their directories."""
        with ThreadPoolExecutor(len(self.servers)) as pool:  # those that take their time take it together
            list(pool.map(lambda server: server.close(), self.servers))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
