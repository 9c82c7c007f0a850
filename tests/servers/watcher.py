"""The process that guard.py starts: it outlives its parent just long enough to clean up after it."""

import os
import select
import shutil
import signal
import sys
from pathlib import Path

from tests.servers.processes import kill_tree


def main(parent: int) -> None:
    """Follow the orders from standard input until it closes or `parent` is gone."""
    pids: set[int] = set()
    paths: set[Path] = set()
    pending = b""
    while True:
        if not select.select([0], [], [], 0.5)[0]:
            # The pipe alone would do, were it not that a child forked by the parent holds its end open too.
            if os.getppid() != parent:
                break
            continue
        if not (data := os.read(0, 65536)):
            break
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            verb, _, what = line.decode().partition(" ")
            match verb:
                case "watch":
                    pids.add(int(what))
                case "unwatch":
                    pids.discard(int(what))
                case "own":
                    paths.add(Path(what))
                case "disown":
                    paths.discard(Path(what))
    for pid in pids:
        kill_tree(pid)
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a TERM for all our processes must not end it first
    main(int(sys.argv[1]))
