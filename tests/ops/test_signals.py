"""The signal chain, in processes that really get the signals."""

import os
import signal

import pytest

from tests.ops.child import script

# A process whose "server" says when its own handler runs, and then ends.
SERVER = """
import logging, signal, sys, threading, time
from scalekit.ops import Drain

logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
ended = False

def own_handler(number, frame):
    global ended
    ended = True
    print("own handler", signal.Signals(number).name, "in flight", drain.in_flight)

def serve():
    print("up")
    while not ended:
        time.sleep(0.01)

signal.signal(signal.SIGTERM, own_handler)
"""


def test_readiness_first_then_requests_then_the_servers_handler() -> None:
    """The signal marks the drain at once; the server's handler runs only when nothing is in flight."""
    source = (
        SERVER
        + """
drain = Drain(delay=0.1)
drain.install()
drain.enter()
print("up")
while not drain.draining:
    time.sleep(0.01)
print("draining", ended)
while not ended and time.monotonic() < drain._since + 0.5:
    time.sleep(0.01)        # well over the delay: only the request in flight holds it
print("still", ended)
drain.leave()
while not ended:
    time.sleep(0.01)
"""
    )
    with script(source) as process:
        assert process.line() == "up"
        process.send(signal.SIGTERM)
        assert process.line() == "draining False"
        assert process.line() == "still False"
        assert process.line() == "own handler SIGTERM in flight 0"
        assert process.rest() == []
        assert process.process.returncode == 0


def test_grace_ends_the_wait() -> None:
    """A request that never ends holds the server for the grace only."""
    source = SERVER + "drain = Drain(delay=0, grace=0.1); drain.install(); drain.enter(); serve()"
    with script(source) as process:
        assert process.line() == "up"
        process.send(signal.SIGTERM)
        assert process.line() == "own handler SIGTERM in flight 1"


def test_a_second_signal_goes_on_at_once() -> None:
    """Whoever sends SIGTERM twice does not want to wait, and the handler runs once for it."""
    source = (
        SERVER
        + """
import scalekit.ops.signals
scalekit.ops.signals._ECHO = 0
drain = Drain(delay=3600)
drain.install()
drain.used = True
print("up")
while not drain.draining:
    time.sleep(0.01)
print("draining")
while not ended:
    time.sleep(0.01)
"""
    )
    with script(source) as process:
        assert process.line() == "up"
        process.send(signal.SIGTERM)
        assert process.line() == "draining"
        process.send(signal.SIGTERM)
        assert process.line() == "own handler SIGTERM in flight 0"
        assert process.rest() == []


def test_an_echo_of_the_signal_is_not_impatience() -> None:
    """systemd signals master and workers, and the master signals its workers: the drain goes on."""
    source = (
        SERVER
        + """
import scalekit.ops.signals
scalekit.ops.signals._ECHO = 3600
drain = Drain(delay=0, grace=3600)
drain.install()
drain.enter()
print("up")
while not drain.draining:
    time.sleep(0.01)
print("draining")
while input() != "leave":
    print("still", ended)
drain.leave()
while not ended:
    time.sleep(0.01)
"""
    )
    with script(source) as process:
        assert process.line() == "up"
        process.send(signal.SIGTERM)
        assert process.line() == "draining"
        process.send(signal.SIGTERM)
        process.tell("look")
        assert process.line() == "still False"
        process.tell("leave")
        assert process.line() == "own handler SIGTERM in flight 0"
        assert process.rest() == []


def test_interrupt_is_not_delayed() -> None:
    """Ctrl-C is not a drain, and stops one that has begun."""
    source = SERVER + "drain = Drain(delay=3600); drain.install(); drain.used = True; serve()"
    for first in ([], [signal.SIGTERM]):
        with script(source) as process:
            assert process.line() == "up"
            for number in (*first, signal.SIGINT):
                process.send(number)
            assert process.rest()[-1] == "KeyboardInterrupt"
            assert process.process.returncode == -signal.SIGINT


def test_a_process_that_never_answered_stops_at_once() -> None:
    """No balancer knows a process that has answered nothing: nothing to wait for."""
    source = SERVER + "drain = Drain(delay=3600); drain.install(); serve()"
    with script(source) as process:
        assert process.line() == "up"
        process.send(signal.SIGTERM)
        assert process.line() == "own handler SIGTERM in flight 0"


def test_a_drain_begun_by_call_is_not_begun_again() -> None:
    """After start() the signal waits only for what is left of the drain."""
    source = (
        SERVER
        + """
drain = Drain(delay=0.05)
drain.install()
drain.used = True
drain.start()
while not drain.drained:
    time.sleep(0.01)
drain.delay = 3600          # a second wait would be noticed
drain._since -= 7200
serve()
"""
    )
    with script(source) as process:
        assert process.line() == "up"
        process.send(signal.SIGTERM)
        assert process.line() == "own handler SIGTERM in flight 0"


def test_the_default_handler_ends_the_process_by_the_signal() -> None:
    """Where nobody else handles SIGTERM the process dies of it, as its parent expects to see."""
    source = (
        SERVER
        + """
signal.signal(signal.SIGTERM, signal.SIG_DFL)
drain = Drain(delay=0.05)
drain.install()
drain.used = True
print("up")
threading.Event().wait()    # in a system call: only a signal to this very thread ends it
"""
    )
    with script(source) as process:
        assert process.line() == "up"
        process.send(signal.SIGTERM)
        assert process.rest() == []
        assert process.process.returncode == -signal.SIGTERM


def test_outside_the_main_thread_it_says_so() -> None:
    """In another thread install() returns False and logs the cure, once; the process stops as before."""
    source = (
        SERVER
        + """
drain = Drain(delay=3600)
thread = threading.Thread(target=lambda: print(drain.install(), drain.install()))
thread.start(); thread.join()
drain.used = True
serve()
"""
    )
    with script(source) as process:
        assert "call drain.install() there" in process.line()
        assert process.line() == "False False"
        assert process.line() == "up"
        process.send(signal.SIGTERM)
        assert process.line() == "own handler SIGTERM in flight 0"


def test_ignored_signals_stay_ignored() -> None:
    """A parent that made us ignore SIGTERM is obeyed."""
    source = (
        SERVER
        + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
drain = Drain()
print(drain.install(), signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)
"""
    )
    with script(source) as process:
        assert process.rest() == ["False True"]


def test_a_later_handler_is_left_alone() -> None:
    """uninstall() does not take away a handler that somebody put over ours."""
    source = (
        SERVER
        + """
drain = Drain()
drain.install()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
drain.uninstall()
print(signal.getsignal(signal.SIGTERM) is signal.SIG_IGN)
"""
    )
    with script(source) as process:
        assert process.rest() == ["True"]


@pytest.mark.parametrize("reset", [True, False], ids=["handlers reset", "handlers kept"])
def test_a_fork_chains_again(reset: bool) -> None:
    """A worker forked after the middleware was built chains on its first request, over its own handlers."""
    source = (
        SERVER
        + f"""
import os
drain = Drain(delay=0.05)
drain.install()
if os.fork() == 0:
    if {reset}:
        signal.signal(signal.SIGTERM, own_handler)
    print(drain.install(), os.getpid())
    drain.used = True
    serve()
else:
    os.wait()
"""
    )
    with script(source) as process:
        installed, pid = process.line().split()
        assert installed == "True"
        assert process.line() == "up"
        os.kill(int(pid), signal.SIGTERM)
        assert process.line() == "own handler SIGTERM in flight 0"
        assert process.rest() == []


LOOP = """
import asyncio, os, signal, time
from scalekit.ops import Drain

drain = Drain(delay=0, grace=3600)
drain.probed()
drain.enter()

async def main():
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    drain.install()
    fork()
    assert not ended.is_set()

def fork():
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, b"up")  # what arrives before, Python forgets in a fork
    while not child:
        time.sleep(0.01)
    os.read(read, 2)
    os.kill(child, signal.SIGTERM)
    print("ended by", os.WTERMSIG(os.waitpid(child, 0)[1]), drain.draining)

"""


@pytest.mark.parametrize("run", ["asyncio.run(main())", "drain.install(); fork()"])
def test_a_child_that_answers_nobody_ends_at_once(run: str) -> None:
    """A worker of ``multiprocessing``, say: it has neither its parent's requests nor its loop."""
    with script(LOOP + run) as process:
        assert process.rest() == ["ended by 15 False"]


def test_without_a_thread_the_signal_goes_on() -> None:
    """Where no thread starts any more nothing could end the drain, and an error would hit any code at all."""
    source = (
        SERVER
        + """
import _thread

def start_new_thread(*args):
    raise RuntimeError("can't start new thread")

drain = Drain()
drain.install()
drain.enter()
_thread.start_new_thread = start_new_thread
serve()
"""
    )
    with script(source) as process:
        process.line()
        process.send(signal.SIGTERM)
        assert process.rest() == ["own handler SIGTERM in flight 1"]
        assert process.process.returncode == 0


def test_the_cure_cures() -> None:
    """install() in the main thread still chains after a vain attempt in another."""
    source = (
        SERVER
        + """
drain = Drain(delay=0.05)
thread = threading.Thread(target=drain.install)
thread.start(); thread.join()
print(drain.install(), drain.install())
"""
    )
    with script(source) as process:
        assert "call drain.install() there" in process.line()
        assert process.rest() == ["True True"]
