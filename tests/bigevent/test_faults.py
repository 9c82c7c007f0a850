"""What breaks in the proof, and when."""

import time
from itertools import pairwise
from typing import Any

from examples.bigevent.faults import SCHEDULE, SHORT, STRAYS, Fault, Faults, plan


def test_the_schedules() -> None:
    """In order, within the run, and everything that was broken is whole at the end."""
    for schedule in (SCHEDULE, SHORT):
        faults = plan(100, schedule=schedule)
        assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
        assert all(0 < fault.at < 95 for fault in faults)
    names = [what for _, what in SCHEDULE]
    for breaks, mends in (
        ("replica paused", "replica resumed"), ("replica killed", "replica back"),
        ("replica lags", "replica in step"),
        ("burst of 10x", "burst over"), ("Redis master killed", "Redis server back"),
        ("S3 stalled", "S3 goes on"), ("primary killed", "old primary back"), ("CDN stopped", "CDN back"),
    ):  # fmt: skip
        assert names.index(breaks) < names.index(mends)


def test_processes_are_killed_and_drained_by_chance() -> None:
    """Besides the schedule, away from all else, so that a recovery time is of one fault; the more, the longer
    a run is; and the same for the same seed."""
    fixed, drawn = plan(600), plan(600, seed=1)
    strays = [fault for fault in drawn if fault not in fixed]
    assert {fault.what for fault in strays} == set(STRAYS)
    assert 10 < len(strays) < len(plan(6_000, seed=1)) - len(SCHEDULE)
    moments = [fault.at for fault in drawn]
    assert moments == sorted(moments)
    assert min(later - at for at, later in pairwise(moments)) >= 3.0
    assert drawn == plan(600, seed=1)
    assert drawn != plan(600, seed=2)


class FakeRedis:
    """A master, and what is done about it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.redis = self  # as of `Servers`

    def kill_master(self) -> "FakeRedis":
        self.done.append("killed")
        return self

    def wait(self) -> None:
        self.done.append("a replica is the master")

    def start(self) -> None:
        self.done.append("started")


async def test_a_redis_that_is_back_is_no_master_any_more() -> None:
    """It comes back when a replica has taken over, however long that takes: before that it would be the
    master again, without any data, and what is lost by that no application could help."""
    servers: Any = FakeRedis()
    fleet: Any = None
    faults = Faults(servers, fleet, lambda begins: None)
    planned = [Fault(0.0, "Redis master killed"), Fault(0.0, "Redis server back")]
    await faults.carry_out(planned, time.monotonic(), lambda text: None)
    assert servers.done == ["killed", "a replica is the master", "started"]
