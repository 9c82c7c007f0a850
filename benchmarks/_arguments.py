"""Numbers on a command line."""

import argparse
from collections.abc import Callable
from typing import Any


def between(least: float, most: float, kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """``type=`` of an option that takes a number in these bounds.

    Args:
        kind: ``int`` or ``float``.
    """

    def number(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            whole = "whole " if kind is int else ""
            raise argparse.ArgumentTypeError(f"{text} is no {whole}number from {least:,} to {most:,}")
        return value

    return number
