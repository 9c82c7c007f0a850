"""Where figures are written to."""

import argparse
import tempfile
from pathlib import Path


def check_writable(parser: argparse.ArgumentParser, *paths: Path) -> None:
    """Before a run: what it shows is not to be lost with a file that cannot be written.

    Nothing is changed: a file that is there stays as it is, and none is made before there is something to
    write. If one cannot be written, the program ends with the error of ``parser``.
    """
    for path in paths:
        try:
            _check(path)
        except OSError as error:
            parser.error(f"{path} cannot be written: {error.strerror}; give a file in a folder of yours")


def _check(path: Path) -> None:
    if path.exists():
        with path.open("a"):
            return
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    with tempfile.TemporaryFile(dir=folder):
        pass


def write(path: Path, text: str) -> None:
    """Write a file, into a folder that need not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
