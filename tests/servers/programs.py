"""Finding and running the programs of a distribution."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.servers import scratch
from tests.servers.base import ServerFailed, ServerMissing

_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/sbin")  # on no ordinary user's PATH


def find_program(name: str, *, cure: str) -> str:
    """The path of program `name`; `ServerMissing` with the `cure` when there is none."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])
    if found := shutil.which(name, path=path):
        return found
    raise ServerMissing(name, cure=cure)


def run(*command: str, cwd: Path, drops_root: bool = True, timeout: float = 60.0) -> str:
    """Run to the end as the account that servers run as; its output. `ServerFailed` carries its words."""
    account = scratch.unprivileged() if drops_root else {}
    done = subprocess.run(
        list(command), capture_output=True, text=True, errors="replace", timeout=timeout, cwd=cwd, **account
    )
    if done.returncode:
        raise ServerFailed(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()}")
    output: str = done.stdout
    return output
