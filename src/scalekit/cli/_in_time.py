"""The application's own code, which runs when it is loaded, and may never come back.

Rules:

* It runs in the main thread, as servers run it: it may set handlers of signals, for example.
* Nothing can end it there: whatever were raised in it, it may catch. So the program is ended, with what it
  was at, as functions and lines. Lines are not quoted, which may have a secret in them.
"""

import os
import sys
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

TOO_LONG = 3
"""The exit status."""

_FRAMES = 12


@contextmanager
def in_time(seconds: float, *, what: str, cure: str) -> Generator[None, None, None]:
    """Ends the program if the block takes longer.

    Args:
        what: has not happened then, such as ``"shop:app is not loaded"``.
        cure: how it gets longer.
    """
    # Here, and not by the thread: it must not wait for an import that hangs.
    from scalekit.cli._terminal import printable
    from scalekit.ops.doctor.walk import is_own_code

    over, ident = threading.Event(), threading.get_ident()

    def watch() -> None:
        if over.wait(seconds):
            return
        frame = sys._current_frames().get(ident)
        if frame is None or over.is_set():
            return
        stack = traceback.extract_stack(frame)
        own = [at for at, one in enumerate(stack) if is_own_code(one.filename)]
        shown = [one for one in stack[own[0] if own else -1 :] if not one.filename.startswith("<frozen ")]
        where = [f"  {_short(one.filename)}, line {one.lineno}, in {one.name}" for one in shown[-_FRAMES:]]
        _end([f"scalekit: {what} after {seconds:g} s; it is at", *map(printable, where), cure])

    threading.Thread(target=watch, name="in time", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _end(lines: list[str]) -> NoReturn:
    # By the descriptor: whom this is about may hold the lock of standard error.
    cursor = "\x1b[?25h\r" if os.isatty(2) else ""  # a status may have hidden it
    text = "\n".join(lines)
    os.write(2, f"{cursor}{text}\n".encode())
    os._exit(TOO_LONG)


def _short(path: str) -> str:
    near = os.path.relpath(path)
    return path if near.startswith("..") else near
