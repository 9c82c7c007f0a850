"""However a run ends, nothing that it has started goes on."""

import os
import signal
from pathlib import Path

import pytest

from tests.ops.child import child
from tests.servers import processes, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_everything_that_was_started_ends(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, and a SIGKILL that leaves it no time: the servers are gone, and the shop's processes too."""
    files = ("--json", str(tmp_path / "run.json"), "--html", str(tmp_path / "run.html"))
    with child("-m", "examples.bigevent", *files, env=dict(os.environ)) as run:
        while "nginx" not in run.line():  # all servers run, and the first processes of the shop start
            continue
        wait_until(lambda: len(_shops(run.process.pid)) >= 3, what="processes of the shop")
        started = processes.tree(run.process.pid)
        run.send(number)
        said = run.rest()
        wait_until(lambda: not processes.alive(started), what="all of them end")
        assert run.process.returncode == (130 if number is signal.SIGINT else -signal.SIGKILL), said


def _shops(pid: int) -> list[int]:
    found = []
    for each in processes.tree(pid):
        try:
            command = Path(f"/proc/{each}/cmdline").read_bytes()
        except OSError:
            continue
        if b"examples.bigevent.app" in command:
            found.append(each)
    return found
