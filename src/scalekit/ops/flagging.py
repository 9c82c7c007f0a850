"""Raise the flag that servers watch, and see how far they are: what ``scalekit drain`` does."""

import fcntl
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from scalekit.errors import ConfigurationError
from scalekit.ops.flag import is_held


@dataclass(frozen=True)
class Watcher:
    """One process that watches a flag.

    Args:
        pid: as the process itself sees it.
        in_flight: its requests and WebSockets.
        most: seconds that its drain takes at most: ``delay`` and ``grace``.
    """

    name: str
    pid: int
    state: Literal["serving", "draining", "drained"]
    in_flight: int
    most: float


def watchers(path: Path) -> list[Watcher]:
    """The processes that watch the flag at ``path`` now. Files of those that are gone are removed."""
    found = []
    ours = re.compile(
        re.escape(path.name) + r"\.\d+-[0-9a-f]{8}"
    )  # what else lies there is not to be removed
    for own in sorted(own for own in path.parent.glob("*") if ours.fullmatch(own.name)):
        if is_held(own):
            found += _read(own)
        else:
            own.unlink(missing_ok=True)
    return found


def _read(own: Path) -> list[Watcher]:
    for _ in range(5):
        try:
            return [Watcher(own.name, **json.loads(own.read_bytes()))]
        except OSError:
            break  # gone this moment
        except ValueError:
            time.sleep(0.01)  # it is just being written
    return []


class RaisedFlag:
    """The flag at ``path`` is up for as long as the block runs, and all who watch begin to drain.

    What has begun goes on when the block ends. If somebody else has it up already, it stays up for them.

    Raises:
        ConfigurationError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._ours = False

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written: {error.strerror}") from error
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return self
        self._ours = True
        os.utime(self.path)  # now that it is held: who has seen it without takes it for an old one
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ours:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
