"""What is wrong with where uploads go: the settings of a bucket, a disk that other servers do not have."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scalekit.ops.doctor.findings import Finding, finding

if TYPE_CHECKING:
    from scalekit.storage.bucket import Finding as BucketFinding

S3 = "scalekit.storage.s3.S3Storage"
DISK = "scalekit.storage.filesystem.FileStorage"
DIRECT = "scalekit.storage.direct.DirectUploads"

_SHARED = ("nfs", "cifs", "smb", "ceph", "fuse", "gluster", "lustre", "afs", "9p", "gpfs", "ocfs2", "gfs2")
"""What the names of file systems begin with that several servers can mount."""


def judge(found: "Iterable[BucketFinding]", *, where: str) -> Iterator[Finding]:
    """The same in the doctor's words. Pure."""
    for one in found:
        yield finding(f"bucket-{one.about}", what=one.problem, cure=one.cure, where=where)


def unreachable(name: str, reason: str, *, where: str) -> Finding:
    """A bucket that did not answer."""
    return finding(
        "bucket-unreachable",
        what=f"bucket {name!r} cannot be looked at: {reason}",
        cure="is it there, are region and credentials right, and does a firewall let this machine out?",
        where=where,
    )


def judge_disk(directory: Path, kind: str | None, *, where: str) -> Iterator[Finding]:
    """A folder of uploads on a file system of that kind; ``None``: not known. Pure."""
    if kind is None or kind.startswith(_SHARED):
        return
    yield finding(
        "disk-storage",
        what=f"uploads go to {str(directory)!r} on this server's disk ({kind}): others answer 404 for them",
        cure="an S3Storage, or a file system that all servers mount, such as NFS",
        where=where,
    )


def file_system(directory: Path, mounts: str | None = None) -> str | None:
    """The kind of file system that ``directory`` is on, or will be; ``None`` where nobody tells.

    Args:
        mounts: lines as in ``/proc/mounts``, which are the default.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text("utf-8", "replace")
        except OSError:
            return None
    path = Path(os.path.realpath(directory))
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        depth = len(point.parts)
        # Of two mounts at one place the later one is seen.
        if path.is_relative_to(point) and (best is None or depth >= best[0]):
            best = depth, fields[2]
    return None if best is None else best[1]
