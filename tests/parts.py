"""A suite in several processes, side by side: ``python -m tests.parts quick coverage run -m pytest ...``.

One that starts servers and waits for them leaves a processor idle for half of its time, and one that waits
for time-outs for most of it. The parts share nothing: each starts its own servers, on ports of its own. Their
output comes in their order, each when it has ended, and one that fails fails all.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import IO

REST: tuple[str, ...] = ()
"""What is in no other part."""

QUICK = (("tests/sessions", "tests/core"), ("tests/cache", "tests/database"), REST)
"""These take about as long; what needs the same servers is in one part where that can be."""

SLOW = (
    ("tests/storage",),
    REST,
    ("tests/ops",),
    ("tests/database",),
    ("tests/cdn",),
    ("tests/core",),
    ("tests/cache",),
    ("tests/sessions",),
)
"""The longest first."""

NOTHING_TO_RUN = 5
"""What pytest's status says of a part that has none of the tests selected."""


def main(suite: str, command: list[str]) -> int:
    """Run ``command`` for each part, or as it is if it says which tests. Returns the worst exit status.

    Args:
        suite: ``quick``, whose parts run all at once, or ``slow``, one more than there are processors.
    """
    if any(argument.startswith("tests") for argument in command):
        return subprocess.call(command)
    parts = QUICK if suite == "quick" else SLOW
    at_once = len(parts) if suite == "quick" else (os.cpu_count() or 1) + 1
    elsewhere = [folder for part in parts for folder in part] + ["tests/e2e"]
    others = ("tests", *(f"--ignore={folder}" for folder in elsewhere))

    def run(part: Sequence[str], output: IO[bytes]) -> int:
        return subprocess.call([*command, *(part or others)], stdout=output, stderr=subprocess.STDOUT)

    with ExitStack() as files, ThreadPoolExecutor(at_once) as threads:
        outputs = [files.enter_context(tempfile.TemporaryFile()) for _ in parts]
        statuses = []
        for output, status in zip(outputs, threads.map(run, parts, outputs), strict=True):
            statuses.append(status)
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.buffer.flush()
    selected = [abs(status) for status in statuses if status != NOTHING_TO_RUN]
    return max(selected, default=NOTHING_TO_RUN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
