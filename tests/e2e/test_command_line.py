"""What the demo says in the terminal."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from examples.shop.front import listen
from tests.e2e.conftest import ROOT
from tests.servers import processes, wait_until


def said(*arguments: str) -> tuple[int, str]:
    """The exit status, and all that was said."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.shop", "--no-open", *arguments],
        cwd=ROOT, text=True, timeout=100, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_help() -> None:
    """Every option has one line."""
    status, text = said("--help")
    assert status == 0
    for option in ("--port N ", "--servers N ", "--no-open ", "--single "):
        assert [line for line in text.splitlines() if line.strip().startswith(option)], option


@pytest.mark.parametrize("value", ["99999", "-1", "many"])
def test_a_port_that_cannot_be(value: str) -> None:
    """It is refused in one line that says which are possible."""
    status, text = said("--port", value)
    assert status == 2
    assert f"{value} is no number from 0 to 65535" in text
    assert "Traceback" not in text


def test_whoever_comes_early_waits() -> None:
    """From when its address is known nobody is refused: who comes before the shop serves is served then."""
    with listen(0) as listener:
        socket.create_connection(listener.getsockname(), 10).close()


def test_a_port_that_is_taken() -> None:
    """The message says which port, and what to do."""
    with listen(0) as taken:
        port = taken.getsockname()[1]
        status, text = said("--port", str(port))
    assert status == 1
    assert f"port {port}: address already in use; choose another with --port" in text


def test_stopped_while_it_starts(tmp_path: Path) -> None:
    """Ctrl-C during the start closes the shop and does not first say that it is open."""
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "examples.shop", "--no-open", "--port", "0"],
            cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        # Its children are there, and so are the handlers of signals.
        wait_until(lambda: len(processes.tree(process.pid)) > 1, what="the start", timeout=60)
        pids = processes.tree(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        processes.send(processes.alive([process.pid]), signal.SIGKILL)
        process.wait()
    text = log.read_text()
    assert "Closing the shop..." in text
    assert "ready in" not in text
    assert "The shop:" not in text
    wait_until(lambda: not processes.alive(pids), what="its children end")
