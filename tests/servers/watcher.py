"""The process that guard.py starts: it outlives its parent just long enough to clean up after it."""

import os
import select
import shutil
import signal
import sys

from tests.servers.processes import kill_tree


def main(parent: int) -> None:
    """Follow the orders from standard input until it closes or `parent` is gone."""
    pids: set[int] = set()
    directories: set[str] = set()
    pending = b""
    # The pipe alone would do, were it not that a child forked by the parent holds its end open too.
    while os.getppid() == parent:
        if not select.select([0], [], [], 0.5)[0]:
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
                    directories.add(what)
                case "disown":
                    directories.discard(what)
    for pid in pids:
        kill_tree(pid)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a TERM for all our processes must not end it first
    main(int(sys.argv[1]))
