"""Replicas that lag, and clusters that know their replicas."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from scalekit.database import AsyncCluster, Cluster
from tests.conftest import Database
from tests.faults import pause_replay


def meet(cluster: AsyncCluster | Cluster) -> None:
    """Wait until ``cluster`` may read from all its replicas, however rarely it asks them.

    With an ``AsyncCluster`` by ``session.run_sync()``.
    """
    fleet = cluster._fleet
    fleet.begin()
    deadline = time.monotonic() + 60
    while len(fleet.readers) < len(fleet.members) - 1:
        assert time.monotonic() < deadline, fleet.explain()
        fleet.monitor.poke()
        fleet.monitor.wait(lambda: len(fleet.readers) == len(fleet.members) - 1, 1)


@contextmanager
def lagging(items: Database) -> Iterator[None]:
    """No replica shows anything new."""
    with ExitStack() as stack:
        for replica in items.cluster.replicas:
            stack.enter_context(pause_replay(replica))
        yield
