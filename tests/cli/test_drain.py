"""`scalekit drain` as a hook and a person meet it, with servers that watch the file."""

import json
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from scalekit.ops.flagging import watchers
from tests.cli.command import scalekit, start
from tests.ops.child import Child, script
from tests.servers import wait_until

pytestmark = pytest.mark.slow

SERVER = """
import threading
from scalekit.ops import Drain

drain = Drain(file={flag!r}, delay=0, grace={grace}, signals=())
for _ in range({in_flight}):
    drain.enter()
drain.install()
print("up")
while input() == "leave":
    drain.leave()
"""


@pytest.fixture
def flag(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "drain"
    assert not (tmp_path / "drain").exists()  # nothing that is left over


def server(flag: Path, *, in_flight: int = 0, grace: float = 3600) -> AbstractContextManager[Child]:
    return script(SERVER.format(flag=str(flag), in_flight=in_flight, grace=grace))


def test_all_processes_are_drained(flag: Path) -> None:
    """It returns when none of them has a request in flight, and counts one that is gone meanwhile as well."""
    with server(flag) as idle, server(flag, in_flight=1) as busy, server(flag, in_flight=1) as killed:
        for process in (idle, busy, killed):
            assert process.line() == "up"
        hook = start("drain", "--file", str(flag), "--json")
        wait_until(
            lambda: (
                sorted(watcher.state for watcher in watchers(flag)) == ["drained", "draining", "draining"]
            ),
            what="all have heard",
        )
        killed.process.kill()
        assert hook.poll() is None
        busy.tell("leave")
        output, errors = hook.communicate(timeout=60)
        *each, last = map(json.loads, output.splitlines())
        assert {facts["pid"]: facts["state"] for facts in each} == {
            idle.process.pid: "drained", busy.process.pid: "drained", killed.process.pid: "gone",
        }  # fmt: skip
        assert last == {"done": True, "processes": 3, "undone": 0, "in_flight": 0}
        assert hook.returncode == 0
        assert "in flight" in errors  # how far it is, in a log


def test_for_people(flag: Path) -> None:
    """A line of result; 0 seconds wait for nothing but that all have heard."""
    with server(flag) as process:
        process.line()
        status, output, _ = scalekit("drain", "--file", str(flag))
        assert (status, output.split(" in ")[0]) == (0, "1 drained")
    with server(flag, in_flight=1) as process:
        process.line()
        status, output, _ = scalekit("drain", "--file", str(flag), "--wait", "0s")
        assert (status, output) == (0, "1 draining; 1 in flight\n")
        assert [watcher.state for watcher in watchers(flag)] == ["draining"]


def test_what_was_not_done_in_time(flag: Path) -> None:
    """A limit that is over, and requests that outlive the grace, are 1, and said."""
    with server(flag, in_flight=2) as process:
        process.line()
        status, output, errors = scalekit("drain", "--file", str(flag), "--wait", "0.1s")
        assert (status, output) == (1, "")
        assert "1 of 1 not drained within " in errors
    with server(flag, in_flight=2, grace=0.1) as process:
        process.line()
        status, _, errors = scalekit("drain", "--file", str(flag))
        assert (status, errors.splitlines()[-1]) == (1, "2 still in flight when the grace was over")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped(flag: Path, number: int, status: int) -> None:
    """Ctrl-C and SIGTERM end the wait and take the flag away; the servers drain on, and it can wait again."""
    with server(flag, in_flight=1) as process:
        process.line()
        hook = start("drain", "--file", str(flag))
        wait_until(lambda: [each.state for each in watchers(flag)] == ["draining"], what="the drain")
        hook.send_signal(number)
        output, errors = hook.communicate(timeout=60)
        assert (hook.returncode, output) == (status, "")
        assert "Traceback" not in errors
        assert not flag.exists()
        assert [each.state for each in watchers(flag)] == ["draining"]
        process.tell("leave")
        assert scalekit("drain", "--file", str(flag))[0] == 0


def test_nobody_watches(flag: Path) -> None:
    """A wrong file would be waited for in vain: 2, with the cure, and no flag is left there."""
    status, output, errors = scalekit("drain", "--file", str(flag))
    assert (status, output) == (2, "")
    cure = "give it to them as Drain(file=...), and run this where they run"
    assert errors == f"scalekit: no server watches {flag}; {cure}\n"
