"""What the package of servers promises to those who use it without pytest."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_the_standard_library_only() -> None:
    """The demo uses it with neither pytest nor a driver installed."""
    subprocess.run([sys.executable, "-S", "-c", "import tests.servers, tests.faults"], cwd=ROOT, check=True)
