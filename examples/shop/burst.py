"""A burst of load: the crowd runs in a process of its own, and reports twice a second."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from examples.shop.databases import Refused, Unknown
from examples.shop.servers import ROOT
from tests.servers import guard

SIZES = {"breeze": (8, 20), "rush": (24, 20), "big-day": (64, 40)}
"""Name to visitors and seconds."""


class Burst:
    def __init__(self, *, on_end: Callable[[str, str], None]) -> None:
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._began = 0.0
        self._size = ""
        self.url = ""
        self.series: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {}

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def start(self, size: str) -> str:
        if size not in SIZES:
            raise Unknown(f"there is no crowd called {size}")
        if self.running:
            raise Refused("a crowd is in the shop already")
        visitors, seconds = SIZES[size]
        self.series, self.result, self._size, self._began = [], {}, size, time.time()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "examples.shop.load", self.url, str(visitors), str(seconds),
            cwd=ROOT, env=dict(os.environ), stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        guard.watch(self._process.pid)
        self._task = asyncio.create_task(self._follow(self._process))
        return f"{visitors} visitors come in, for {seconds} seconds"

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def snapshot(self) -> dict[str, Any]:
        visitors, seconds = SIZES.get(self._size, (0, 0))
        return {
            "running": self.running,
            "visitors": visitors,
            "seconds": seconds,
            "began": self._began,
            "series": self.series,
            "result": self.result,
        }

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            report = json.loads(line)
            self.series.append(report["interval"])
            self.result = report["total"]
        await process.wait()
        guard.unwatch(process.pid)
        if self.result:
            wrong = verdict(self.result)
            self._on_end(
                f"the crowd has left after {self.result['requests']:,} requests: "
                f"{wrong or 'nothing was lost'}",
                "bad" if wrong else "good",
            )


def verdict(result: dict[str, Any]) -> str:
    """What went wrong, in words; empty if nothing did."""
    failures = result["failures"]
    parts = [
        f"{_times(count, 'page')} answered with {cause}"
        for cause, count in failures.items()
        if cause.isdigit()
    ]
    # The rest are names of what a broken connection raises.
    if unanswered := sum(count for cause, count in failures.items() if not cause.isdigit()):
        parts.append(f"{_times(unanswered, 'page')} without an answer")
    words = {"logged out": "log-in", "basket changed": "basket", "order missing": "order"}
    ends = {"logged out": "lost", "basket changed": "changed", "order missing": "missing"}
    parts += [
        f"{_times(count, words[name])} {ends[name]}" for name, count in result["violations"].items() if count
    ]
    return ", ".join(parts)


def _times(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
