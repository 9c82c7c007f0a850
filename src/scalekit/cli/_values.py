"""Values as people write them on a command line."""

import argparse
import re
from collections.abc import Callable

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def positive(text: str) -> int:
    """A whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is no whole number of at least 1")
    return number


def seconds(text: str) -> float:
    """Seconds from such as ``15``, ``0.5`` or ``15s``; more than none."""
    try:
        number = float(text.strip().removesuffix("s"))
    except ValueError:
        number = -1.0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is no number of seconds above 0")
    return number


def duration(text: str) -> float:
    """Seconds from such as ``90s``, ``30m``, ``24h``, ``7d``, ``2w``. A number alone says too little."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is no duration; write it as 30m, 24h or 7d")
    return float(found[1]) * _UNITS[found[2]]


def lasting(seconds: float) -> str:
    """Seconds as people read them, in the two largest units: ``45 s``, ``14 m 59 s``, ``1 h 59 m``."""
    parts: list[str] = []
    left = round(seconds)
    for unit in ("d", "h", "m"):
        count, left = divmod(left, _UNITS[unit])
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join([*parts, f"{left} s"][:2])


def counted(number: int, what: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def level(least: int, most: int) -> Callable[[str], int | None]:
    """Reads a level of compression in that range; ``none``, which is ``None``, is no compression at all."""

    def read(text: str) -> int | None:
        if text.lower() == "none":
            return None
        if not (re.fullmatch(r"\d{1,3}", text, re.ASCII) and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"{text!r:.40} is no level; write a number from {least} to {most}, or none"
            )
        return int(text)

    return read
