"""The scalekit command as a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(**more: str) -> dict[str, str]:
    """Without what would colour or fold the output of a test run from a terminal."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FORCE_", "TTY_"))
    }
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "80", **more}


def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scalekit", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**more),
        # What runs in the background of a shell ignores Ctrl-C, and so would whatever it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def scalekit(*arguments: str, **more: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    process = start(*arguments, **more)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors
