"""Commands that are stopped half-way: by Ctrl-C, or by SIGTERM from whoever manages the server."""

import signal
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from scalekit._steps import Steps
    from scalekit.types import Colour

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """The command was told to stop, and has cleaned up after itself. ``signal`` is the number."""

    def __init__(self, number: int) -> None:
        self.signal = number
        super().__init__(signal.Signals(number).name)


def run_until_stopped(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in an event loop of its own; a first signal cancels it, so that it cleans up.

    A second one ends the program as it would any other.

    Raises:
        Stopped: there was a signal.
    """
    import asyncio  # a tenth of a second, which --help does not need

    async def stoppable() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)
        received: list[int] = []

        def stop(number: int) -> None:
            received.append(number)
            loop.remove_signal_handler(number)
            task.cancel()

        for number in _SIGNALS:
            loop.add_signal_handler(number, stop, number)
        try:
            return await task
        except asyncio.CancelledError:
            if received:
                raise Stopped(received[0]) from None
            raise
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    return asyncio.run(stoppable())


@contextmanager
def stoppable() -> Generator[None, None, None]:
    """What is done without an event loop: a first signal raises in it, so that it cleans up.

    A second one ends the program as it would any other.

    Raises:
        Stopped: there was a signal.
    """

    def stop(number: int, frame: object) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def drive(steps: "Steps[T]", colour: "Colour") -> T:
    """Run ``steps``, whose client has that colour; a first signal ends them, so that they clean up.

    Raises:
        Stopped: there was a signal.
    """
    from scalekit._steps import run, run_async

    if colour == "async":
        return run_until_stopped(run_async(steps))
    with stoppable():
        return run(steps)
