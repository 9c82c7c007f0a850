"""What the package of servers promises to those who use it without pytest."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.servers import wait_until

ROOT = Path(__file__).parents[2]


def test_imports_the_standard_library_only() -> None:
    """The demo uses it with neither pytest nor a driver installed."""
    subprocess.run([sys.executable, "-S", "-c", "import tests.servers, tests.faults"], cwd=ROOT, check=True)


def test_a_killed_run_leaves_nothing(tmp_path: Path) -> None:
    """Directories and sockets that are owned go with the process, however it ends."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory/file").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    owns = (
        "import os, pathlib, signal, sys; from tests.servers import guard\n"
        "for path in pathlib.Path(sys.argv[1]).iterdir(): guard.own(path)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", owns, str(tmp_path)], cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL
    wait_until(lambda: not list(tmp_path.iterdir()), what="they are gone")
