"""What a disk says, in our words: what could not be done, where, why, and what to do about it."""

import errno
import os
from pathlib import Path
from typing import TypeVar

from scalekit.errors import InvalidKey, StorageError, StorageFull, UploadFailed
from scalekit.storage._shield import Outcome

T = TypeVar("T")

FULL = (errno.ENOSPC, errno.EDQUOT)

_CURES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there, or raise the quota",
    errno.EROFS: "it is mounted read-only",
    errno.EACCES: "the user with the id {user} may not do that there",
    errno.EPERM: "the user with the id {user} may not do that there",
    errno.EMFILE: "this process has too many open files; raise `ulimit -n`",
    errno.ESTALE: "the mount is not what it was; mount it again",
}


def done(outcome: Outcome[T], key: str, root: Path, what: str = "store") -> T:
    """The value of a step that the disk had a part in.

    Raises:
        InvalidKey: the key is too long for the file system.
        StorageFull, UploadFailed: the disk does not take it, where ``what`` is to store.
        StorageError: or otherwise.
    """
    # Only what the disk says is translated; an OSError of the source is the caller's own.
    if isinstance(outcome.error, OSError) and outcome.cancelled is None:
        raise _failed(outcome.error, key, root, what) from outcome.error
    return outcome.unwrap()


def _failed(error: OSError, key: str, root: Path, what: str) -> StorageError:
    if error.errno is None:  # in words of ours
        return UploadFailed(f"cannot {what} {key!r}: {error.strerror}")
    if error.errno == errno.ENAMETOOLONG:
        return InvalidKey(key, f"is too long for the file system of {str(root)!r}")
    cure = _CURES.get(error.errno, "").format(user=os.geteuid())
    message = f"cannot {what} {key!r}: {error.strerror}, in the folder {str(root)!r}{cure and '; '}{cure}"
    if what != "store":
        return StorageError(message)
    return StorageFull(message) if error.errno in FULL else UploadFailed(message)
