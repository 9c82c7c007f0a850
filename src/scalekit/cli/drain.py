"""Drain the servers that watch FILE, and wait until they are drained.

Servers watch it if they were made with Drain(file="FILE"). They turn not ready at once, serve on for their
delay, and finish what they began; nothing is stopped. Run it before the signal that stops them, where they
run: as a preStop hook of Kubernetes, as ExecStop of systemd, or in the lifecycle hook of an instance.

The exit status is 0 when all are drained, or gone; 1 when requests were still in flight at the end of a
server's grace, or the time of --wait was over; and 2 when nobody watches FILE. Interrupted, it stops
waiting, and the servers drain on.
"""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scalekit.cli._stop import stoppable
from scalekit.cli._values import duration

if TYPE_CHECKING:
    from scalekit.cli._terminal import Terminal
    from scalekit.ops.flagging import Watcher

SUMMARY = "have servers finish what they began, before their end"

_LOOK = 0.1
_LATE = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", metavar="FILE", required=True, help="the file that the servers watch")
    parser.add_argument(
        "--wait",
        type=duration,
        metavar="TIME",
        help="at most, such as 30s; 0s does not wait (by default as long as the servers may take)",
    )


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    from scalekit.errors import ConfigurationError
    from scalekit.ops.flagging import RaisedFlag, watchers

    path = Path(arguments.file).absolute()
    known = {watcher.name: watcher for watcher in watchers(path)}
    if not known:
        raise ConfigurationError(
            f"no server watches {path}; give it to them as Drain(file=...), and run this where they run"
        )
    most = (
        max(watcher.most for watcher in known.values()) + _LATE if arguments.wait is None else arguments.wait
    )
    began = time.monotonic()
    with stoppable(), RaisedFlag(path), terminal.status() as status:
        while True:
            now = {watcher.name: watcher for watcher in watchers(path)}
            known |= now
            states = {name: watcher.state if name in now else "gone" for name, watcher in known.items()}
            status(_sentence(states, sum(watcher.in_flight for watcher in now.values())))
            waited = time.monotonic() - began
            # Until all have heard of it, however short the wait: the flag is taken away at its end.
            heard = "serving" not in states.values() or waited > max(most, _LATE)
            if heard and (waited >= most or set(states.values()) <= {"drained", "gone"}):
                break
            time.sleep(_LOOK)
    left = sum(watcher.in_flight for name, watcher in known.items() if states[name] == "drained")
    for name, watcher in known.items():
        terminal.record(_facts(watcher, states[name]))
    undone = sum(state in ("serving", "draining") for state in states.values())
    terminal.record({"done": True, "processes": len(known), "undone": undone, "in_flight": left})
    if arguments.wait == 0 and "serving" not in states.values():
        terminal.say(_sentence(states, sum(watcher.in_flight for watcher in now.values())))
        return 0
    if undone:
        terminal.problem(f"{undone} of {len(known)} not drained within {waited:.0f} s")
    if left:
        terminal.problem(f"{left} still in flight when the grace was over")
    if undone or left:
        return 1
    terminal.say(f"{len(known)} drained in {waited:.1f} s")
    return 0


def _facts(watcher: "Watcher", state: str) -> dict[str, object]:
    return {"pid": watcher.pid, "state": state, "in_flight": 0 if state == "gone" else watcher.in_flight}


def _sentence(states: dict[str, str], in_flight: int) -> str:
    counts = [
        (state, list(states.values()).count(state)) for state in ("serving", "draining", "drained", "gone")
    ]
    return f"{', '.join(f'{count} {state}' for state, count in counts if count)}; {in_flight} in flight"
