"""The demo as a visitor gets it: its own process, and a browser."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from tests.conftest import missing
from tests.servers import ServerMissing, processes, wait_until

playwright = pytest.importorskip("playwright.sync_api")
playwright.expect.set_options(timeout=60_000)  # milliseconds; by itself it is patient for five seconds

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "test-artifacts"


@dataclass
class Demo:
    """A running ``python -m examples.shop``."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def tree(self) -> list[int]:
        return processes.tree(self.process.pid)

    def end(self, number: signal.Signals) -> None:
        """Send a signal and return when it and all its children are gone."""
        pids = self.tree()
        self.process.send_signal(number)
        self.process.wait(60)
        wait_until(lambda: not processes.alive(pids), what="the demo's processes end")


@contextmanager
def demo(log: Path, *arguments: str) -> Iterator[Demo]:
    """Open the shop on any free port, and close it."""
    with log.open("wb") as output:
        process = _start(output, *arguments)
        try:
            wait_until(
                lambda: b"ready in" in log.read_bytes() or process.poll() is not None,
                what="the demo",
                timeout=120,
            )
            match = re.search(r"The shop: +(\S+?)/\n", log.read_text())
            assert match, log.read_text()
            yield Demo(process, match[1], log)
        finally:
            if process.poll() is None:
                pids = processes.tree(process.pid)
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(60)
                finally:
                    processes.send(processes.alive(pids), signal.SIGKILL)
            process.wait()


def _start(output: IO[bytes], *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "examples.shop", "--no-open", "--port", "0", *arguments],
        cwd=ROOT,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The whole fleet, for the tests of one file."""
    with demo(tmp_path_factory.mktemp("demo") / "log") as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's program."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        missing(ServerMissing("chromium", cure="apt-get install chromium"))
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator["playwright.Browser"]:
    arguments = ["--disable-gpu", "--disable-quic", "--disable-background-networking"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots are kept for people to look at."""
    ARTIFACTS.mkdir(exist_ok=True)
    return ARTIFACTS
