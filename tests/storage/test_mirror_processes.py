"""MirroredStorage among processes that share a directory, and that are killed and frozen."""

import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from scalekit.storage import FileStorage, KiB, MemoryStorage, MiB, MirroredStorage
from scalekit.storage._mirror_copy import length_of

CONTENT = random.Random(7).randbytes(3 * MiB + 11)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Worker:
    """See :mod:`tests.storage.mirror_worker`."""

    def __init__(self, folder: Path, *options: str) -> None:
        arguments = [str(folder / name) for name in ("media", "copies", "log")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.mirror_worker", *arguments, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, key: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"read {key}\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def read(self, key: str) -> str:
        self.ask(key)
        assert self.line() == "reading"
        return self.line()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.communicate("end\n", timeout=60)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start, None, None]:
    workers: list[Worker] = []

    def one(*options: str) -> Worker:
        workers.append(Worker(tmp_path, *options))
        return workers[-1]

    try:
        yield one
    finally:
        (tmp_path / "log.wait").unlink(missing_ok=True)
        for worker in workers:
            worker.end()


def log(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def parts(folder: Path) -> list[Path]:
    return list((folder / "copies").glob("*.part"))


@pytest.mark.slow
async def test_one_process_copies_for_all(tmp_path: Path, start: Start) -> None:
    """Of several processes that want the same one reads the origin; the others read what has come so far."""
    await FileStorage(tmp_path / "media").put("a.bin", CONTENT)
    (tmp_path / "log.wait").touch()
    workers = [start() for _ in range(3)]
    for worker in workers:
        worker.ask("a.bin")
    for worker in workers:
        assert worker.line() == "reading"
    assert len(log(tmp_path)) == 1
    (tmp_path / "log.wait").unlink()
    assert [worker.line() for worker in workers] == [DIGEST] * 3
    assert [worker.read("a.bin") for worker in workers] == [DIGEST] * 3
    assert len(log(tmp_path)) == 1
    until(lambda: parts(tmp_path) == [])


@pytest.mark.slow
async def test_whoever_copies_is_killed(tmp_path: Path, start: Start) -> None:
    """kill -9 in the middle of a copy: the others read on from the origin, the next one copies anew."""
    await FileStorage(tmp_path / "media").put("a.bin", CONTENT)
    (tmp_path / "log.wait").touch()
    first, second = start(), start()
    first.ask("a.bin")
    assert first.line() == "reading"
    second.ask("a.bin")
    assert second.line() == "reading"
    assert len(log(tmp_path)) == 1
    until(lambda: any(path.stat().st_size >= 512 * KiB for path in parts(tmp_path)))
    first.kill()
    assert second.line() == DIGEST
    assert [line.split()[2] == "0" for line in log(tmp_path)] == [True, False]
    assert len(parts(tmp_path)) == 1
    (tmp_path / "log.wait").unlink()
    assert second.read("a.bin") == DIGEST
    assert len(log(tmp_path)) == 3
    until(lambda: parts(tmp_path) == [])
    assert start().read("a.bin") == DIGEST
    assert len(log(tmp_path)) == 3


@pytest.mark.slow
async def test_whoever_copies_is_frozen(tmp_path: Path, start: Start) -> None:
    """SIGSTOP in the middle of a copy: the others go on after `timeout`, and once only."""
    await FileStorage(tmp_path / "media").put("a.bin", CONTENT)
    (tmp_path / "log.wait").touch()
    first, second = start(), start("--timeout", "3")
    first.ask("a.bin")
    assert first.line() == "reading"
    until(lambda: any(path.stat().st_size >= 512 * KiB for path in parts(tmp_path)))
    os.kill(first.process.pid, signal.SIGSTOP)
    assert second.read("a.bin") == DIGEST
    (tmp_path / "log.wait").unlink()
    assert second.read("a.bin") == DIGEST  # a copy of its own
    assert second.read("a.bin") == DIGEST
    opened = [line.split()[:1] + line.split()[2:] for line in log(tmp_path)]
    assert opened.count([str(second.process.pid), "0"]) == 1
    os.kill(first.process.pid, signal.SIGCONT)
    assert first.line() == DIGEST
    first.end()
    until(lambda: parts(tmp_path) == [])


async def test_a_ledger_that_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody frozen with the ledger in hand keeps others from copying, not from reading or from writing."""
    monkeypatch.setattr("scalekit.storage._mirror_directory._PATIENCE", 0.02)
    origin = MemoryStorage()
    await origin.put("a.bin", CONTENT)
    async with MirroredStorage(origin, tmp_path / "copies", max_bytes=10 * MiB, fresh_for=60) as mirror:
        assert await mirror.read("a.bin") == CONTENT
        with (tmp_path / "copies" / "ledger").open("rb") as ledger:
            fcntl.flock(ledger, fcntl.LOCK_EX)
            assert await mirror.read("a.bin") == CONTENT
            await mirror.put("a.bin", b"new", overwrite=True)
            assert await mirror.read("a.bin") == b"new"
            await mirror.put("b.bin", b"another")
            assert await mirror.read("b.bin") == b"another"


@pytest.mark.slow
async def test_the_bound_of_all(tmp_path: Path, start: Start) -> None:
    """Processes that read, evict and are killed at random read what was stored, and stay below the bound."""
    origin, rng = FileStorage(tmp_path / "media"), random.Random(11)
    digests = {}
    for number in range(12):
        content = rng.randbytes(rng.randrange(1, 700) * KiB)
        await origin.put(f"{number}.bin", content)
        digests[f"{number}.bin"] = hashlib.sha256(content).hexdigest()
    bound = length_of(1500 * KiB)
    workers = [start("--max-bytes", str(bound)) for _ in range(3)]
    for turn in range(60):
        asked = [(worker, rng.choice(list(digests))) for worker in workers]
        for worker, key in asked:
            worker.ask(key)
        if turn % 12 == 11:
            victim = rng.randrange(3)
            workers[victim].kill()
            del asked[victim]
            workers[victim] = start("--max-bytes", str(bound))
        for worker, key in asked:
            assert (worker.line(), worker.line()) == ("reading", digests[key])
    for worker in workers:
        worker.end()
    kept = [path for path in (tmp_path / "copies").iterdir() if len(path.name) >= 64]
    assert kept
    assert sum(path.stat().st_size for path in kept) <= bound
