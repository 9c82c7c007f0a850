"""What a command says, and to whom: to a person at a terminal, to a log, or to a program."""

import json
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

try:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table
except ModuleNotFoundError:
    from scalekit.errors import MissingExtra

    raise MissingExtra("cli", needed_by="the scalekit command") from None

from scalekit.cli._progress import Bar, Lines, Progress
from scalekit.cli._status import status

_NO_WIDTH = 10_000


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise


class Terminal:
    """Standard output and standard error.

    Args:
        json: standard output is read by a program.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        # Never folded where nobody looks: a line is one fact, whatever its length.
        self._out = _Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._err = _Console(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
        if not self._out.is_terminal:
            self._out.width = _NO_WIDTH  # in a log a row is a line
        self._bar: Bar | None = None

    @property
    def is_interactive(self) -> bool:
        """Whether somebody sees standard error on a terminal that can redraw a line."""
        return self._err.is_terminal and not self._err.is_dumb_terminal

    @property
    def width(self) -> int:
        """Columns that people see; very many where nobody folds lines."""
        return self._out.width

    def say(self, text: str, *, style: str = "") -> None:
        """A result, for people. With ``--json`` nothing is printed: give the same to :meth:`record`.

        Args:
            style: one of rich's, such as ``"bold red"``, for terminals.
        """
        if self.json:
            return
        if style and self._out.is_terminal:
            self._out.print(printable(text), style=style)
        # A line between the bar's redraws must go through what draws it, if both are one screen.
        elif self._bar is not None and self._out.is_terminal:
            self._err.print(printable(text))
        else:
            print(printable(text))

    def record(self, facts: Mapping[str, object]) -> None:
        """A result, for programs: printed with ``--json`` only, as one line."""
        if self.json:
            print(json.dumps(facts))

    def size(self, count: int) -> str:
        """Bytes for people, such as ``"1.2 GB"``."""
        return decimal(count)

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        """A result in columns, for people."""
        if not self.json:
            table = Table(*columns, box=None, pad_edge=False, header_style="bold")
            table.columns[-1].overflow = "fold"  # a name is shown whole or is none
            for column in table.columns[:-1]:
                column.no_wrap = True  # so that it is the last one that is folded
            for row in rows:
                table.add_row(*map(printable, row))
            self._out.print(table, soft_wrap=False)

    def problem(self, text: str) -> None:
        """Something that is not as it should be."""
        self._err.print(printable(text), style="yellow")

    def status(self) -> AbstractContextManager[Callable[[str], None]]:
        """Shows what is waited for, where nobody knows how long: a sentence that is given as it changes."""
        return status(self._err, redraws=self.is_interactive)

    def activity(self) -> AbstractContextManager[Callable[[str], object]]:
        """As :meth:`status`, of what is over in seconds, mostly: for who watches, and not for logs."""
        return self.status() if self.is_interactive else nullcontext(str)

    @contextmanager
    def progress(self, title: str) -> Generator[Progress, None, None]:
        """Shows how far the work is: a bar on a terminal, else a line now and then."""
        shown: Bar | Lines = Bar(title, self._err) if self.is_interactive else Lines(title, self._err)
        with shown:
            self._bar = shown if isinstance(shown, Bar) else None
            try:
                yield shown
            finally:
                self._bar = None


def printable(text: str) -> str:
    """``text`` without what a terminal would obey: names of files may hold any character."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
