"""Where figures are written to."""

from pathlib import Path


def check_writable(path: Path) -> None:
    """Before a run: what it shows is not to be lost with a file that cannot be written.

    Raises:
        OSError: it cannot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a"):
        pass
    if new:
        path.unlink()
