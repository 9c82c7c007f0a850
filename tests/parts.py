"""A suite in several processes, side by side: ``python -m tests.parts coverage run -m pytest [options]``.

One that starts servers and waits for them leaves a processor idle for half of its time. The parts share
nothing: each starts its own servers, on ports of its own. Their output comes when all have ended, and one
that fails fails all.
"""

import subprocess
import sys
import tempfile
from contextlib import ExitStack

PARTS = (("tests/sessions", "tests/core"), ("tests/cache", "tests/database"))
"""These, and all others, take about as long; what needs the same servers is in one part where that can be."""

NOTHING_TO_RUN = 5
"""What pytest's status says of a part that has none of the tests selected."""


def main(command: list[str]) -> int:
    """Run ``command`` for each part, or as it is if it says which tests. Returns the worst exit status."""
    if any(argument.startswith("tests") for argument in command):
        return subprocess.call(command)
    elsewhere = [folder for part in PARTS for folder in part] + ["tests/e2e"]
    others = ("tests", *(f"--ignore={folder}" for folder in elsewhere))
    with ExitStack() as files:
        running = []
        for part in (*PARTS, others):
            output = files.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen([*command, *part], stdout=output, stderr=subprocess.STDOUT)
            running.append((process, output))
        statuses = []
        for process, output in running:
            statuses.append(process.wait())
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.buffer.flush()
    selected = [abs(status) for status in statuses if status != NOTHING_TO_RUN]
    return max(selected, default=NOTHING_TO_RUN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
