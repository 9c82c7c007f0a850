"""Trees of processes: PostgreSQL gives each of its children a session of its own, so a process group
does not hold them all."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_PROC = Path("/proc/self/stat").exists()  # not on macOS


def _table(pids: Iterable[int] | None = None) -> dict[int, tuple[int, str]]:
    """pid -> parent's pid and state, of `pids` or of all processes; without those that ended, and zombies."""
    rows = _from_proc(pids) if _PROC else _from_ps(pids)
    return {pid: (parent, state) for pid, parent, state in rows if state not in "ZX"}


def _from_proc(pids: Iterable[int] | None) -> Iterator[tuple[int, int, str]]:
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if pids is None else pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended in between
        state, parent = stat[stat.rindex(")") + 2 :].split(None, 2)[:2]  # a name may hold spaces and ")"
        yield pid, int(parent), state


def _from_ps(pids: Iterable[int] | None) -> Iterator[tuple[int, int, str]]:
    ps = subprocess.run(["ps", "-axo", "pid=,ppid=,state="], capture_output=True, text=True, check=True)
    for line in ps.stdout.splitlines():
        pid, parent, state = line.split()
        if pids is None or int(pid) in pids:
            yield int(pid), int(parent), state[0]


def tree(pid: int) -> list[int]:
    """`pid` (when it lives) and all its descendants, parents first."""
    table = _table()
    found = [pid] if pid in table else []
    level = [pid]
    while level:
        level = [child for child, (parent, _) in table.items() if parent in level]
        found += level
    return found


def alive(pids: list[int]) -> list[int]:
    """Those of `pids` that still run."""
    return list(_table(pids))


def send(pids: list[int], signum: signal.Signals) -> None:
    """Send `signum` to each of `pids` that still exists."""
    for pid in pids:
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            continue


def stop_tree(pid: int) -> list[int]:
    """SIGSTOP `pid` and every descendant; returns them once none runs any more."""
    pids: list[int] = []
    while new := [each for each in tree(pid) if each not in pids]:  # again: one may have forked meanwhile
        send(new, signal.SIGSTOP)
        pids += new
        while any(state not in "Tt" for _, state in _table(new).values()):
            time.sleep(0.001)  # the signal arrives when the process is next scheduled
    return pids


def kill_tree(pid: int) -> list[int]:
    """SIGKILL `pid` and every descendant at one moment; returns them."""
    pids = stop_tree(pid)  # stopped first: none can clean up, answer or fork while the others die
    send(pids, signal.SIGKILL)
    return pids
