"""A suite in two processes, side by side: ``python -m tests.halves coverage run -m pytest [options]``.

One that starts servers and waits for them leaves a processor idle for half of its time. The halves share
nothing: each starts its own servers, on ports of its own. Their output comes when they end, and one that
fails fails both.
"""

import subprocess
import sys
import tempfile

FIRST = ("tests/cache", "tests/core", "tests/database")
"""These take about as long as all others."""


def main(command: list[str]) -> int:
    """Run ``command`` for both halves, or as it is if it says which tests. Returns the worse exit status."""
    if any(argument.startswith("tests") for argument in command):
        return subprocess.call(command)
    others = ["tests", *(f"--ignore={folder}" for folder in (*FIRST, "tests/e2e"))]
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as other:
        running = [
            (subprocess.Popen([*command, *half], stdout=output, stderr=subprocess.STDOUT), output)
            for half, output in ((FIRST, one), (others, other))
        ]
        worst = 0
        for process, output in running:
            worst = max(worst, abs(process.wait()))
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.buffer.flush()
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
