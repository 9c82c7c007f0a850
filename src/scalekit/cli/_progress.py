"""How far a command is, in bytes: a bar that is redrawn, or lines that are added to a log."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Columns

_SECONDS_A_LINE = 10.0


class Progress(Protocol):
    """Where a command reports to."""

    def update(self, done: int, total: int | None, note: str) -> None:
        """``done`` of ``total`` bytes, which is ``None`` while nobody knows; ``note`` is shown beside."""


class Bar:
    """A line that is redrawn, with the speed and the time that is left; it goes when the work ends."""

    def __init__(self, title: str, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
        )
        # Somebody else reads standard output, if it is not this terminal.
        self._columns = Columns(
            *columns,
            console=console,
            transient=True,
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._title = title
        self._task = self._columns.add_task(title, total=None)

    def __enter__(self) -> Self:
        self._columns.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._columns.stop()

    def update(self, done: int, total: int | None, note: str) -> None:
        # Of a narrow terminal the numbers get all there is.
        text = f"{self._title}: {note}" if note and self._columns.console.width >= 80 else self._title
        self._columns.update(self._task, completed=done, total=total, description=text)

    def refresh(self) -> None:
        """Draw now; it is drawn ten times a second anyway."""
        self._columns.refresh()


class Lines:
    """A line every ten seconds, for logs.

    Args:
        clock: seconds, as ``time.monotonic`` gives them.
    """

    def __init__(self, title: str, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._console, self._clock = title, console, clock

    def __enter__(self) -> Self:
        self._began = self._last = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def update(self, done: int, total: int | None, note: str) -> None:
        now = self._clock()
        if now - self._last < _SECONDS_A_LINE:
            return
        self._last = now
        speed = done / (now - self._began)
        parts = [
            f"{decimal(done)}{'' if total is None else f' of {decimal(total)}'}",
            f"{decimal(int(speed))}/s",
        ]
        if total is not None and speed:
            parts.append(f"{duration((total - done) / speed)} left")
        self._console.print(f"{self._title}: {', '.join([*parts, note] if note else parts)}")


def duration(seconds: float) -> str:
    """Such as ``"1:02:03"``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
