"""Waiting for a condition with a deadline, never for an amount of time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

START_TIMEOUT = 30.0
"""Seconds a server may take to start: a hundred times the usual, for a machine under load."""


def wait_until(
    condition: Callable[[], T], *, timeout: float = START_TIMEOUT, what: str, interval: float = 0.01
) -> T:
    """Poll until ``condition()`` is true and return its value; ``TimeoutError`` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        if result := condition():
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(interval)
