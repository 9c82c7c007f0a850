"""What a command waits for: a line that is redrawn, or lines that are added to a log."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner

_SECONDS_A_LINE = 10.0


@contextmanager
def status(
    console: Console, *, redraws: bool, clock: Callable[[], float] = time.monotonic
) -> Generator[Callable[[str], None], None, None]:
    """Yields what is called with the sentence of this moment, as often as one likes."""
    if redraws:
        spinner = Spinner("dots", style="green")
        # Not console.status(), which takes standard output along: somebody else reads that, perhaps.
        with Live(
            spinner,
            console=console,
            transient=True,
            refresh_per_second=12.5,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield lambda sentence: spinner.update(text=escape(sentence))
        return
    last, said = -_SECONDS_A_LINE, ""

    def add(sentence: str) -> None:
        nonlocal last, said
        # The first at once, and then now and then: numbers change all the time.
        if sentence != said and (not said or clock() - last >= _SECONDS_A_LINE):
            last, said = clock(), sentence
            console.print(sentence)

    yield add
