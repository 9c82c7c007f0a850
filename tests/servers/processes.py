"""Trees of processes: PostgreSQL gives each of its children a session of its own, so a process group
does not hold them all."""

import os
import signal
import subprocess
from pathlib import Path


def _parents() -> dict[int, int]:
    """pid -> parent's pid, for every process; zombies are left out."""
    if not Path("/proc/self/stat").exists():  # macOS
        listing = subprocess.run(
            ["ps", "-axo", "pid=,ppid=,state="], capture_output=True, text=True, check=True
        )
        rows = (line.split() for line in listing.stdout.splitlines())
        return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path("/proc", pid, "stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended in between
        state, parent = stat[stat.rindex(b")") + 2 :].split(None, 2)[:2]  # a name may hold spaces and ")"
        if state not in (b"Z", b"X"):
            parents[int(pid)] = int(parent)
    return parents


def tree(pid: int) -> list[int]:
    """`pid` (when it lives) and all its descendants, parents first."""
    parents = _parents()
    found = [pid] if pid in parents else []
    pending = [pid]
    while pending:
        pending = [child for child, parent in parents.items() if parent in pending]
        found += pending
    return found


def alive(pids: list[int]) -> list[int]:
    """Those of `pids` that still run."""
    parents = _parents()
    return [pid for pid in pids if pid in parents]


def send(pids: list[int], signum: signal.Signals) -> None:
    """Send `signum` to each of `pids` that still exists."""
    for pid in pids:
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            continue


def stop_tree(pid: int) -> list[int]:
    """SIGSTOP `pid` and every descendant; returns them. The parent first, so that it forks no more."""
    stopped: list[int] = []
    while new := [each for each in tree(pid) if each not in stopped]:
        send(new, signal.SIGSTOP)
        stopped += new
    return stopped


def kill_tree(pid: int) -> list[int]:
    """SIGKILL `pid` and every descendant at one moment; returns them."""
    pids = stop_tree(pid)  # stopped first: none can clean up, answer or fork while the others die
    send(pids, signal.SIGKILL)
    return pids
