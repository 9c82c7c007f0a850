"""Signals that an event loop handles, as under hypercorn, granian and gunicorn's own ASGI worker."""

import os
import signal
from contextlib import AbstractContextManager

import pytest

from tests.ops.child import Child, script

# A "server" with handlers of loop.add_signal_handler(), which run past whatever is put in front of them.
SERVER = """
import asyncio, logging, os, signal, sys
from scalekit.ops import Drain

logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
ended = asyncio.Event()

def own_handler(name):
    print("own handler", name, "in flight", drain.in_flight)
    ended.set()

def hear(loop):
    loop.add_signal_handler(signal.SIGTERM, own_handler, "SIGTERM")

def run(*parts):
    "Run one after the other on one loop, which stops in between, as granian has it."
    loop = asyncio.new_event_loop()
    if sys.argv[1] == "uvloop":
        import uvloop
        loop = uvloop.new_event_loop()
    for part in parts:
        loop.run_until_complete(part(loop))
    loop.close()

async def serve(loop):
    drain.install()
    drain.probed()
    print("up")
    await ended.wait()
"""


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


def server(source: str, loop: str) -> AbstractContextManager[Child]:
    return script(f"import sys; sys.argv[1:] = [{loop!r}]\n" + SERVER + source)


def drains(process: Child) -> None:
    assert process.line() == "up"
    process.send(signal.SIGTERM)
    assert process.line() == "draining"
    process.tell("leave")
    assert process.line() == "own handler SIGTERM in flight 0"
    assert process.rest() == []
    assert process.process.returncode == 0


LEAVE = """
drain = Drain(delay=0, grace=3600)

async def watch(loop):
    await drain.wait()
    print("draining")
    await asyncio.to_thread(input)
    assert not ended.is_set()
    drain.leave()
"""


def test_the_loops_handler_runs_when_the_drain_is_done(loop: str) -> None:
    """The loop hears of the signal when nothing is in flight any more, and not before."""
    source = """
async def main(loop):
    hear(loop)
    drain.enter()
    watcher = asyncio.create_task(watch(loop))
    await serve(loop)
    await watcher
run(main)
"""
    with server(LEAVE + source, loop) as process:
        drains(process)


def test_a_loop_that_is_run_anew(loop: str) -> None:
    """uvloop sets a descriptor of its own each time it is run: held back again from the next probe on."""
    source = """
async def start_up(loop):
    hear(loop)
    drain.install()

async def main(loop):
    drain.enter()
    watcher = asyncio.create_task(watch(loop))
    await serve(loop)
    await watcher
run(start_up, main)
"""
    with server(LEAVE + source, loop) as process:
        drains(process)


def test_other_signals_of_the_loop_are_not_held_back(loop: str) -> None:
    """The application's own handlers of the loop, set before ours or after, run at once: in a drain, too."""
    source = """
drain = Drain(delay=3600)

async def main(loop):
    hear(loop)
    loop.add_signal_handler(signal.SIGUSR1, print, "SIGUSR1")
    drain.install()
    loop.add_signal_handler(signal.SIGUSR2, print, "SIGUSR2")
    drain.used = True
    await serve(loop)
run(main)
"""
    with server(source, loop) as process:
        assert process.line() == "up"
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            process.send(number)
            assert process.line() == number.name
        process.send(signal.SIGTERM)
        process.send(signal.SIGUSR1)
        assert process.line() == "SIGUSR1"


def test_uninstall_gives_everything_back(loop: str) -> None:
    """After it the loop's handler is asked at once, as if nobody had been in front."""
    source = """
drain = Drain(delay=3600)

async def main(loop):
    hear(loop)
    before = signal.getsignal(signal.SIGTERM)
    print(drain.install(), signal.getsignal(signal.SIGTERM) == before)
    drain.uninstall()
    print(signal.getsignal(signal.SIGTERM) == before)
    drain.used = True
    print("up")
    await ended.wait()
run(main)
"""
    with server(source, loop) as process:
        assert process.line() == "True False"
        assert process.line() == "True"
        assert process.line() == "up"
        process.send(signal.SIGTERM)
        assert process.line() == "own handler SIGTERM in flight 0"


def test_a_fork_has_its_own(loop: str) -> None:
    """A signal to a child that was forked from a running loop drains neither the parent nor is lost."""
    source = """
drain = Drain(delay=0, grace=3600)

async def main(loop):
    hear(loop)
    drain.install()
    drain.used = True
    child = os.fork()
    if child == 0:
        import select
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        drain.install()
        drain.used = True
        print(os.getpid())
        while True:  # no pause(): a signal just before it would be seen after the next one only
            select.select([], [], [], 0.01)
    status = (await asyncio.to_thread(os.waitpid, child, 0))[1]
    print(os.waitstatus_to_exitcode(status), drain.draining)
    await serve(loop)
run(main)
"""
    with server(source, loop) as process:
        os.kill(int(process.line()), signal.SIGTERM)
        assert process.line() == "7 False"
        assert process.line() == "up"
        process.send(signal.SIGTERM)
        assert process.line() == "own handler SIGTERM in flight 0"


def test_a_loop_that_does_not_run_is_left_alone() -> None:
    """Signals can be held back from a running loop only. Otherwise the log says that they are not delayed."""
    source = """
drain = Drain()
loop = asyncio.new_event_loop()
hear(loop)
print(drain.install())
loop.close()
"""
    with server(source, "asyncio") as process:
        assert (
            process.line()
            == "WARNING drain: SIGTERM is handled outside Python's handlers and cannot be delayed"
        )
        assert process.rest() == ["False"]
