"""Where servers keep their data, and the account they run as."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.servers import guard

_SHM = Path("/dev/shm")
_ENOUGH = 1 << 30  # containers often have 64 MiB there, less than one PostgreSQL needs


def make_directory(name: str) -> Path:
    """A fresh directory in memory when there is room, else in the temporary folder; owned by the account
    that servers run as, removed at the latest when this process ends."""
    in_memory = _SHM.is_dir() and os.access(_SHM, os.W_OK) and shutil.disk_usage(_SHM).free > _ENOUGH
    directory = Path(tempfile.mkdtemp(prefix=f"scalekit-{name}-", dir=_SHM if in_memory else None)).resolve()
    guard.own(directory)
    if account := unprivileged():
        shutil.chown(directory, account["user"], account["group"])
    return directory


def remove_directory(directory: Path) -> None:
    """Remove what `make_directory` made."""
    shutil.rmtree(directory, ignore_errors=True)
    guard.disown(directory)


def unprivileged() -> dict[str, Any]:
    """Arguments for `subprocess` that give up root, for servers that refuse it; empty when not root."""
    if os.geteuid() != 0:
        return {}
    for name in ("nobody", "postgres"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise LookupError("running as root and there is no account `nobody` or `postgres` to run servers as")


def reachable_by_all(path: Path) -> bool:
    """Whether an account without privileges gets to `path`, whatever its parents' modes."""
    return all(each.stat().st_mode & 0o005 == 0o005 for each in (path, *path.parents))
