"""The processes of the proof: what becomes of them when others do not start, and what is known of drains."""

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from examples.bigevent.autoscaler import Autoscaler
from examples.bigevent.fleet import Fleet, Process
from examples.bigevent.settings import METRICS, Settings
from tests.servers import ServerFailed


class Child:
    """A process that does nothing until it is told to end."""

    pid = 0

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def send_signal(self, number: int) -> None:
        self.ended.set()

    async def wait(self) -> int:
        await self.ended.wait()
        return 0


class Dummies(Fleet):
    """Whose processes are none.

    Args:
        starts: what becomes of one that was started.
    """

    def __init__(self, log: Path, starts: Callable[[Fleet, Process], None]) -> None:
        servers: Any = None
        settings: Any = None
        super().__init__(servers, settings, Autoscaler())
        self.log, self.starts, self.started = log, starts, 0
        log.write_text("what it said")

    async def start_one(self) -> Process:
        self.started += 1
        child: Any = Child()
        process = Process(self.started, self.release, child, self.log)
        self.processes.append(process)
        self.spawn(self._gone(process))
        self.starts(self, process)
        return process

    async def _gone(self, process: Process) -> None:
        await process.child.wait()
        self.processes.remove(process)


def gets_ready(fleet: Fleet, process: Process) -> None:
    process.ready = True


def breaks_from_release_2_on(fleet: Fleet, process: Process) -> None:
    if fleet.release == 1:
        process.ready = True
    else:
        process.child.send_signal(9)


async def test_a_release_that_does_not_start_replaces_nobody(tmp_path: Path) -> None:
    """Those of the old one go on to serve, and what the new one said is told."""
    fleet = Dummies(tmp_path / "log", breaks_from_release_2_on)
    before = [await fleet.start_one() for _ in range(3)]
    with pytest.raises(ServerFailed, match=r"release 2 gets ready.*\n.*what it said"):
        await fleet.deploy()
    assert fleet.serving == before


async def test_a_killed_process_is_not_drained(tmp_path: Path) -> None:
    """It counts as serving no more, before anybody has noticed; and what it loses is not a drain's."""
    fleet = Dummies(tmp_path / "log", gets_ready)
    killed, other = [await fleet.start_one() for _ in range(2)]
    fleet.kill(killed)
    assert fleet.serving == [other]
    await fleet.drain(killed)
    assert fleet.drains == []


async def test_one_that_does_not_start_is_tried_again(tmp_path: Path) -> None:
    """A process of the new release that was killed before it was ready: the old one goes after the next."""
    killed = [4]  # the number of the first one of release 2

    def starts(fleet: Fleet, process: Process) -> None:
        if process.port in killed:
            process.child.send_signal(9)
        else:
            process.ready = True

    fleet = Dummies(tmp_path / "log", starts)
    for _ in range(3):
        await fleet.start_one()
    await fleet.deploy()
    await asyncio.sleep(0)  # the last drain begins
    assert [process.release for process in fleet.serving] == [2, 2, 2]


async def test_a_drain_counts_from_its_beginning(tmp_path: Path) -> None:
    """Until it has ended it has no end: what fails meanwhile fails because of it."""
    fleet = Dummies(tmp_path / "log", gets_ready)
    process = await fleet.start_one()
    process.child.send_signal = lambda number: None  # type: ignore[method-assign]  # it takes its time
    drain = fleet.spawn(fleet.drain(process))
    await asyncio.sleep(0)
    ((port, began, ended),) = fleet.drains
    assert (port, ended) == (1, math.inf)
    process.child.ended.set()  # type: ignore[attr-defined]
    await drain
    ((port, same, ended),) = fleet.drains
    assert (port, same) == (1, began)
    assert began <= ended < math.inf


async def test_a_fleet_that_nobody_watches_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended the watching ends the run: without it there was no autoscaler."""
    fleet = Dummies(tmp_path / "log", gets_ready)
    fleet._routed = [1, 2, 3]
    broken = asyncio.Event()

    async def scale() -> None:
        broken.set()
        raise OSError("every port is claimed")

    async def watch(http: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(fleet, "_scale", scale)
    monkeypatch.setattr(fleet, "_watch", watch)
    with pytest.raises(OSError, match="every port is claimed"):
        async with fleet.running():
            await broken.wait()


@pytest.mark.parametrize(
    ("said", "in_flight"),
    [
        ("scalekit_http_in_flight 3\n", 3),
        ('scalekit_http_in_flight{pid="7"} 3.0\nscalekit_http_in_flight{pid="8"} 4\n', 7),
        ("scalekit_http_in_flight_now 3\n", None),
        ("", None),
    ],
)
async def test_the_metric(said: str, in_flight: int | None, tmp_path: Path) -> None:
    """It is the process's own, of all its workers; where it is not, nobody goes on with a zero."""

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(text=said if request.path == METRICS else "")

    runner = web.ServerRunner(web.Server(handler))  # type: ignore[arg-type]
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        fleet = Dummies(tmp_path / "log", lambda fleet, process: None)
        fleet.settings = Settings(database="", replicas=(), redis="", s3={}, cdn="")
        process = await fleet.start_one()
        process.port = runner.addresses[0][1]
        async with aiohttp.ClientSession() as http:
            if in_flight is None:
                with pytest.raises(ServerFailed, match="in flight"):
                    await fleet._look(http, process)
            else:
                await fleet._look(http, process)
                assert (process.ready, process.in_flight, fleet.in_flight) == (True, in_flight, in_flight)
    finally:
        await runner.cleanup()
