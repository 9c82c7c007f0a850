"""Faults of replication; the servers say how each is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Replica(Protocol):
    """`PostgresServer`, `MariaDBServer`."""

    def pause_replay(self) -> None: ...
    def resume_replay(self) -> None: ...
    def promote(self) -> None: ...


@contextmanager
def pause_replay(replica: Replica) -> Iterator[None]:
    """The replica receives changes and answers reads, but shows nothing new until the context ends."""
    replica.pause_replay()
    try:
        yield
    finally:
        replica.resume_replay()


def promote(replica: Replica) -> None:
    """The replica becomes a primary; returns when it takes writes. The old primary, if it runs, does not
    know: that is the split brain a failover has to survive."""
    replica.promote()
