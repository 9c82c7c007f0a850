"""The file that begins a drain, and who watches it, in processes of their own."""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from scalekit.errors import ConfigurationError
from scalekit.ops import Drain
from scalekit.ops.flagging import RaisedFlag, watchers
from tests.ops.child import Child, script, wait_until

SERVER = """
import logging, os, sys, time
from scalekit.ops import Drain

logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
drain = Drain(file=FLAG, delay=0, grace=3600, signals=())

def serve():
    drain.install()
    print("up", os.getpid())
    while not drain.draining:
        time.sleep(0.01)
    print("draining")
    while input() != "end":
        drain.leave()
"""


@pytest.fixture
def flag(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "drain"
    assert watchers(tmp_path / "drain") == []  # which sweeps
    assert list(tmp_path.iterdir()) == []


def server(flag: Path, source: str = "serve()") -> AbstractContextManager[Child]:
    return script(f"FLAG = {str(flag)!r}\n{SERVER}\n{source}")


def states(flag: Path) -> list[str]:
    return [watcher.state for watcher in watchers(flag)]


def test_all_who_watch_drain(flag: Path) -> None:
    """However many processes there are, each hears of one flag, and says how far it is."""
    with server(flag, "drain.enter(); serve()") as one, server(flag) as two:
        pids = {int(process.line().split()[1]) for process in (one, two)}
        assert {(watcher.pid, watcher.state, watcher.most) for watcher in watchers(flag)} == {
            (pid, "serving", 3600.0) for pid in pids
        }
        with RaisedFlag(flag):
            assert one.line() == two.line() == "draining"
            wait_until(lambda: sorted(states(flag)) == ["drained", "draining"], "one has a request in flight")
            one.tell("leave")
            wait_until(lambda: states(flag) == ["drained", "drained"], "none has")
        assert not flag.exists()


def test_a_flag_that_is_only_touched(flag: Path) -> None:
    """A hook without scalekit can do it: the file alone begins the drain; taking it away ends nothing."""
    with server(flag) as process:
        process.line()
        flag.touch()
        assert process.line() == "draining"
        flag.unlink()
        wait_until(lambda: states(flag) == ["drained"], "drained")


def test_a_flag_left_over_is_ignored_until_it_is_touched(flag: Path) -> None:
    """No server comes up draining because of an earlier one, and the same file drains it all the same."""
    flag.touch()
    with server(flag) as process:
        assert "was there before this server, which ignores it; touch it to drain" in process.line()
        process.line()
        assert states(flag) == ["serving"]
        flag.touch()
        assert process.line() == "draining"
        flag.unlink()


def test_a_worker_put_in_place_of_another_drains_with_the_others(flag: Path) -> None:
    """While a hook holds the flag a drain is under way: what starts now is about to be stopped as well."""
    with RaisedFlag(flag), server(flag) as process:
        process.line()
        assert process.line() == "draining"


def test_a_hook_may_come_upon_a_flag_left_over(flag: Path) -> None:
    """It is raised anew, and taken away at the end."""
    flag.touch()
    with server(flag) as process:
        process.line()
        process.line()
        with RaisedFlag(flag):
            assert process.line() == "draining"
        assert not flag.exists()


def test_who_was_killed_is_not_waited_for(flag: Path) -> None:
    """The lock of a process ends with it, whatever ended it: its file is swept, not believed."""
    with server(flag) as process:
        process.line()
        assert len(watchers(flag)) == 1
        process.send(signal.SIGKILL)
        process.rest()
        left = [path.name for path in flag.parent.iterdir()]
        assert len(left) == 1
        assert watchers(flag) == []
        assert list(flag.parent.iterdir()) == []


def test_what_others_keep_beside_the_flag_stays(tmp_path: Path) -> None:
    """Only files of processes are swept; the flag's name may be the beginning of others'."""
    names = {"drain.conf-old", "drain.2026-11-27", "drain.sh-0123abcd", "drain.7-0123abcd.bak"}
    for name in names:
        (tmp_path / name).write_text("mine")
    assert watchers(tmp_path / "drain") == []
    assert {path.name for path in tmp_path.iterdir()} == names


def test_the_flag_may_have_any_name(tmp_path: Path) -> None:
    """Also one that a pattern would read otherwise."""
    with server(tmp_path / "[shop]*") as process:
        process.line()
        assert states(tmp_path / "[shop]*") == ["serving"]


def test_a_full_disk_ends_no_watch(flag: Path) -> None:
    """A process that cannot say how far it is drains all the same, and says so when it can again."""
    source = """
import resource
drain.install()
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
drain.enter()
print("full"), input()
while not drain.draining:  # which follows its message
    time.sleep(0.01)
print("draining")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
serve()
"""
    log = "drain: begun by"
    source = source.replace("drain.install()", "logging.getLogger().setLevel(logging.INFO)\ndrain.install()")
    with server(flag, source) as process:
        assert process.line() == "full"
        flag.touch()
        assert log in process.line()
        process.tell("look")
        assert process.line() == "draining"
        wait_until(lambda: states(flag) == ["draining"], "it could write again")
        flag.unlink()


def test_a_fork_watches_for_itself(flag: Path) -> None:
    """A worker forked after its parent began to watch has a file of its own, and drains by itself."""
    source = """
import threading
drain.install()
child = os.fork()
serve()
"""
    with server(flag, source) as process:
        pids = {int(process.line().split()[1]) for _ in range(2)}
        assert {watcher.pid for watcher in watchers(flag)} == pids
        with RaisedFlag(flag):
            assert [process.line(), process.line()] == ["draining", "draining"]
        os.kill((pids - {process.process.pid}).pop(), signal.SIGKILL)
        wait_until(lambda: len(watchers(flag)) == 1, "the child is gone, and its parent is not")


def test_threads_begin_to_watch_once(flag: Path) -> None:
    """The first requests of a worker may come in several threads at a time."""
    source = """
import threading
threads = [threading.Thread(target=drain.install) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
serve()
"""
    with server(flag, source) as process:
        assert process.line().startswith("up")
        assert len(watchers(flag)) == 1
        assert len(list(flag.parent.iterdir())) == 1


def test_uninstall_takes_the_file_away(flag: Path) -> None:
    """A process that goes on after its server, as a test does, is none to be drained. It may watch again."""
    source = """
drain.install(); drain.uninstall(); drain.uninstall()
print(os.listdir(os.path.dirname(FLAG)))
serve()
"""
    with server(flag, source) as process:
        assert process.line() == "[]"
        process.line()
        flag.touch()
        assert process.line() == "draining"
        flag.unlink()


def test_two_hooks_at_a_time(flag: Path) -> None:
    """The flag stays up for the one that raised it, whoever else comes and goes."""
    other = f"""
from pathlib import Path
from scalekit.ops.flagging import RaisedFlag
with RaisedFlag(Path({str(flag)!r})):
    pass
"""
    with RaisedFlag(flag):
        with script(other) as process:
            assert process.rest() == []
        assert flag.exists()
    assert not flag.exists()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """The server does not start with a flag that could never work; a hook says what is wrong as well."""
    drain = Drain(file=tmp_path / "none" / "drain", signals=())
    with pytest.raises(
        ConfigurationError, match=r"the server can write nothing there .*; make the folder .*/no"
    ):
        drain.install()
    with (
        pytest.raises(ConfigurationError, match="drain cannot be written: No such file"),
        RaisedFlag(tmp_path / "none" / "drain"),
    ):
        pass
    with pytest.raises(ConfigurationError, match=r"file= must be a path, such as '/run/shop/drain', not int"):
        Drain(file=3)  # type: ignore[arg-type]
