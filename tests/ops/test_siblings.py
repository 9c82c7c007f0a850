"""Processes of one server that tell each other their numbers."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scalekit.errors import ConfigurationError
from scalekit.metrics import Metric, Sample, counter, gauge
from scalekit.ops import Metrics, siblings
from scalekit.ops.scraping import Scrapes
from scalekit.ops.siblings import Siblings
from tests.ops.child import Child, child, wait_until
from tests.servers.processes import send, tree

OTHER = """
import sys, time
from scalekit.metrics import counter
from scalekit.ops.siblings import Siblings

here = Siblings(lambda: [counter("hits", "H.", 2)], directory=sys.argv[1])
here.join(None)
print("joined")
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a name that is short enough."""
    return tmp_path_factory.mktemp("m")


def hits() -> list[Metric]:
    return [counter("hits", "H.", 1)]


def gathered(here: Siblings) -> dict[str, dict[str, float]]:
    return {
        metric.name: {sample.labels["process"]: float(sample.value) for sample in metric.samples}  # type: ignore[arg-type]
        for metric in here.gather()
    }


def joined(folder: Path) -> Siblings:
    here = Siblings(hits, directory=folder)
    here.join(None)
    return here


def ready(other: Child) -> str:
    assert other.line() == "joined"
    return str(other.process.pid)


def test_one_that_was_killed_is_gone(folder: Path) -> None:
    """Its numbers end with it, and so does what it left in the directory."""
    here, mine = joined(folder), str(os.getpid())
    with child("-c", OTHER, str(folder)) as other:
        theirs = ready(other)
        assert gathered(here) == {"hits": {mine: 1, theirs: 2}, "scalekit_process_up": {mine: 1, theirs: 1}}
    assert len(list(folder.iterdir())) == 2
    assert gathered(here) == {"hits": {mine: 1}, "scalekit_process_up": {mine: 1}}
    assert len(list(folder.iterdir())) == 1
    here.close()
    assert not folder.exists()


def test_one_that_does_not_answer_is_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a scrape its patience and no other process's numbers."""
    monkeypatch.setattr(siblings, "_PATIENCE", 0.2)
    here, mine = joined(folder), str(os.getpid())
    with child("-c", OTHER, str(folder)) as other:
        theirs = ready(other)
        os.kill(int(theirs), signal.SIGSTOP)
        os.waitid(os.P_PID, int(theirs), os.WSTOPPED)  # before that it may still answer
        assert gathered(here) == {"hits": {mine: 1}, "scalekit_process_up": {mine: 1, theirs: 0}}
    here.close()


def test_one_that_takes_no_more_is_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has hung for so long that its queue is full: that is told, and does not cost its time once more."""
    monkeypatch.setattr(siblings, "_PATIENCE", 0.05)
    here = joined(folder)
    with contextlib.ExitStack() as opened:
        hung = opened.enter_context(socket.socket(socket.AF_UNIX))
        hung.bind(str(folder / "7.0.sock"))
        hung.listen(0)
        full = False
        while not full:
            link = opened.enter_context(socket.socket(socket.AF_UNIX))
            link.setblocking(False)
            full = link.connect_ex(str(folder / "7.0.sock")) != 0
        assert gathered(here)["scalekit_process_up"] == {str(os.getpid()): 1.0, "7": 0.0}
    here.close()


def test_what_contradicts_is_down(folder: Path) -> None:
    """A process of another release, while one replaces the other, may count otherwise: it is not mixed in."""
    here = Siblings(lambda: [gauge("hits", "H.", 7)], directory=folder)
    here.join(None)
    with child("-c", OTHER, str(folder)) as other:
        theirs = ready(other)
        found = gathered(here)
        assert found["hits"] == {str(os.getpid()): 7}
        assert found["scalekit_process_up"][theirs] == 0
    here.close()


def test_what_is_no_process_is_passed_over(folder: Path) -> None:
    """Files and sockets of something else in the directory are no reason to fail."""
    here = joined(folder)
    (folder / "1.a.sock").write_text("a file")
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(folder / "2.b.sock"))  # nobody listens
        assert gathered(here)["hits"] == {str(os.getpid()): 1}
    here.close()


def test_a_fork_joins_for_itself(folder: Path) -> None:
    """A child has its parent's middleware and not its thread; and its end takes nothing from the parent."""
    source = f"""if True:
        import os, time
        from scalekit.metrics import counter
        from scalekit.ops.siblings import Siblings

        here = Siblings(lambda: [counter("hits", "H.", 1)], directory={str(folder)!r})
        here.join(None)
        pid = os.fork()
        if pid == 0:
            here.join(None)
            time.sleep(600)
        try:
            while len([name for name in os.listdir({str(folder)!r}) if name.endswith(".sock")]) < 2:
                pass
            found = {{sample.labels["process"] for metric in here.gather() for sample in metric.samples}}
            assert found == {{str(os.getpid()), str(pid)}}, found
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    """
    subprocess.run([sys.executable, "-c", source], check=True, timeout=60)


MEETING = """
import sys
from scalekit.metrics import counter
from scalekit.ops import siblings
from scalekit.ops.siblings import Siblings

siblings._PATIENCE = 60.0  # as here: one that has no turn for two seconds is there all the same
here = Siblings(lambda: [counter("hits", "H.", 1)])
here.join(sys.argv[1])
print("joined")
sys.stdin.readline()
(hits,) = [metric for metric in here.gather() if metric.name == "hits"]
print(sum(int(sample.value) for sample in hits.samples))
sys.stdin.readline()
"""


def test_what_a_child_holds_open_is_no_process(folder: Path) -> None:
    """One that was killed while a child of it lives is gone all the same."""
    source = OTHER.replace('print("joined")', 'if os.fork(): print("joined")').replace(
        "import sys", "import os, sys"
    )
    here = joined(folder)
    # From 3.12 on Python warns of a fork beside threads, which is what this is about.
    with child("-W", "ignore::DeprecationWarning", "-c", source, str(folder)) as other:
        pid = ready(other)
        assert gathered(here)["scalekit_process_up"] == {str(os.getpid()): 1, pid: 1}
        children = tree(other.process.pid)
        other.process.send_signal(signal.SIGKILL)
        other.process.wait()
        try:
            assert gathered(here)["scalekit_process_up"] == {str(os.getpid()): 1}
        finally:
            send(children, signal.SIGKILL)
    here.close()


def test_what_cannot_be_removed_is_passed_over(folder: Path) -> None:
    """Where somebody else may write, something may lie there that is not ours to remove."""
    (folder / "7.0123abcd.sock").mkdir()
    here = joined(folder)
    assert gathered(here)["hits"] == {str(os.getpid()): 1}
    here.close()


def test_processes_meet_by_parent_and_port(folder: Path) -> None:
    """Those with one parent and one port find each other without being told where; others do not."""
    env = {**os.environ, "TMPDIR": str(folder)}
    with contextlib.ExitStack() as stack:
        three = [stack.enter_context(child("-c", MEETING, port, env=env)) for port in ("80", "80", "81")]
        for one in three:
            ready(one)
        for one in three:
            one.tell("go on")
        assert [one.line() for one in three] == ["2", "2", "1"]
        assert (folder / f"scalekit-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_two_in_one_process_keep_apart(folder: Path) -> None:
    """A test suite that makes an application for each test does not add up all of them."""
    here, there = joined(folder), joined(folder)
    assert gathered(here)["hits"] == gathered(there)["hits"] == {str(os.getpid()): 1}
    here.close()
    there.close()


def test_a_directory_of_somebody_else_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can write to it could tell any numbers: the scrape says so, and what to do."""
    monkeypatch.setattr(siblings.tempfile, "gettempdir", lambda: str(folder))
    (folder / f"scalekit-{os.getuid()}").mkdir(mode=0o777)
    (folder / f"scalekit-{os.getuid()}").chmod(0o777)
    with pytest.raises(ConfigurationError, match=r"not this user's alone.*directory="):
        Siblings(hits).join(8000)


def test_a_directory_that_cannot_be_made_fails_scrapes_alone(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests go on; a scrape is answered 503 with the cure, for a part would look like all."""
    pytest.importorskip("prometheus_client")
    (folder / "file").write_text("")
    scrapes = Scrapes(Metrics(), "/metrics", folder / "file" / "sub")
    with caplog.at_level(logging.ERROR, "scalekit.ops"):
        scrapes.arrive(8000)
        scrapes.arrive(8000)
    assert len(caplog.records) == 1
    answer = scrapes.answer("GET", "")
    assert answer.status == 503
    assert b"directory=" in answer.body


def test_a_name_that_is_too_long_is_refused_at_start_up(tmp_path: Path) -> None:
    """A socket's name has an end, and the system's own message says nothing of it."""
    with pytest.raises(ConfigurationError, match="too long"):
        Siblings(hits, directory=tmp_path / ("x" * 100))


def test_samples_keep_their_labels(folder: Path) -> None:
    """What was labelled is labelled, and the process is one label more."""
    here = Siblings(lambda: [Metric("a", "counter", "A.", (Sample(1, {"x": "1"}),))], directory=folder)
    here.join(None)
    assert here.gather()[0].samples == (Sample(1, {"x": "1", "process": str(os.getpid())}),)
    here.close()
    wait_until(lambda: not folder.exists(), "the directory is gone")
