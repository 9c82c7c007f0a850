"""What a fail-over loses: ``./dev bench failover [--rounds N] [--seconds S] [--json FILE] [--write-docs]``.

Each round starts a Redis with two replicas and three Sentinels anew, has four processes write sessions, 500
times a second together, breaks the master in one of the ways of `KINDS`, waits for another one and until
everybody is served again, and looks for every write. All kinds under all settings are one pass.

The tables of ``docs/howto/sessions-failover.md`` come from ``./dev bench failover --write-docs``.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._arguments import between
from benchmarks._failover_counts import Counts, percentile
from benchmarks._failover_faults import KINDS, LOOPBACK, SLOW, Kind
from benchmarks._failover_service import service
from benchmarks._failover_writers import PAUSE, VISITORS
from benchmarks._results import check_writable, write
from benchmarks._scale_series import markdown
from benchmarks.bench_scale import filled, where

SIDES = ("near", "far", "near", "far")
"""The processes, and on which side of the network each is."""
RATE = round(len(SIDES) * VISITORS / PAUSE)
RUN = Path("docs/_static/failover.json")
PAGE = Path("docs/howto/sessions-failover.md")


@dataclass(frozen=True)
class Setting:
    """What is done against losses: by the application's store, and by the servers."""

    name: str
    store: dict[str, Any] = field(default_factory=dict)
    servers: dict[str, str | int] = field(default_factory=dict)


SETTINGS = {
    "plain": Setting("nothing"),
    "minimum": Setting(
        "`min-replicas-to-write 1`", servers={"min_replicas_to_write": 1, "min_replicas_max_lag": 1}
    ),
    "wait": Setting("`wait_replicas=1`", store={"wait_replicas": 1}),
}


class Processes:
    """Those of the application, see ``_failover_writers.py``."""

    def __init__(self, running: list[subprocess.Popen[str]]) -> None:
        self._running = running

    def all(self, order: str) -> list[Any]:
        for process in self._running:
            assert process.stdin is not None
            process.stdin.write(order + "\n")
            process.stdin.flush()
        return [self._hear(process) for process in self._running]

    def _hear(self, process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("a process that writes sessions has ended; its error is above")
        return json.loads(line)

    def settle(self) -> None:
        if not all(self.all("settle")):
            raise RuntimeError("somebody is not served again")


@contextmanager
def processes(urls: Mapping[str, str], setting: Setting, sides: Sequence[str]) -> Iterator[Processes]:
    command = [sys.executable, "-m", "benchmarks._failover_writers"]
    running = [
        subprocess.Popen(
            [*command, urls[side], json.dumps(setting.store)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side in sides
    ]
    try:
        yield Processes(running)
    finally:
        for process in running:
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class Round:
    """The counts, and what each write took while nothing was broken, in milliseconds."""

    counts: Counts
    times: list[float]


def run(kind: Kind, setting: Setting, seconds: float, sides: Sequence[str] = SIDES) -> Round:
    with service(kind.delays, **setting.servers) as redis, processes(redis.urls(), setting, sides) as crowd:
        crowd.settle()
        time.sleep(seconds)
        crowd.all("fault")
        redis.watch_closely()
        kind.fault(redis, seconds)
        crowd.settle()
        redis.wait_deserted(redis.nodes[0])
        crowd.all("stop")
        reports = crowd.all(f"count {redis.master.url}")
    counts = sum((Counts(**report["counts"]) for report in reports), Counts())
    return Round(counts, [ms for report in reports for ms in report["times"]])


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """What was found: where and when, the counts by kind and setting, and the costs by link and setting."""
    begun, place = time.perf_counter(), where()
    found: dict[tuple[str, str], list[Counts]] = {(kind, name): [] for kind in KINDS for name in SETTINGS}
    times: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        for kind, how in KINDS.items():
            for name, setting in SETTINGS.items():
                result = run(how, setting, seconds)
                found[kind, name].append(result.counts)
                if how.cost is not None:
                    times.setdefault((how.cost, name), []).extend(result.times)
                print(f"{number + 1}/{rounds} {kind}, {name}: {result.counts}", flush=True)
    return {
        "where": place | {"seconds": round(time.perf_counter() - begun)},
        "rounds": rounds,
        "seconds": seconds,
        "rate": RATE,
        "counts": [
            {"kind": kind, "setting": name, "rounds": [asdict(each) for each in counts]}
            for (kind, name), counts in found.items()
        ],
        "costs": [
            {
                "link": link,
                "setting": name,
                "writes": len(all_of),
                "median": percentile(all_of, 0.5),
                "p99": percentile(all_of, 0.99),
            }
            for (link, name), all_of in times.items()
        ],
    }


def tables(found: Mapping[str, Any]) -> dict[str, str]:
    """What stands between the marks of the page, by name."""
    rows = []
    for each in found["counts"]:
        counts = sum((Counts(**one) for one in each["rounds"]), Counts())
        name = SETTINGS[each["setting"]].name
        rows.append(
            [KINDS[each["kind"]].name, name, counts.acknowledged, counts.lost, counts.refused, counts.unknown]
        )
    costs = {(each["link"], each["setting"]): each for each in found["costs"]}
    links = [link for link in (LOOPBACK, SLOW) if (link, "plain") in costs]
    place = found["where"]
    # A load of one for each core is a machine that does nothing else.
    state = "while others were at work on it" if place["load"] > place["cores"] else "that did nothing else"
    machine = f"{place['cores']} cores {state} (load {place['load']:g} at the start)"
    return {
        "where": f"Measured on {place['date']} with Python {place['python']} and {place['redis']} on "
        f"{machine}. Fail-overs of each kind: {found['rounds']}. Changes tried a second: {found['rate']}. "
        f"What was cut off or frozen came back {found['seconds']:g} s after another master had taken over.",
        "losses": markdown(
            ["what happens to the master", "against it", "acknowledged", "lost", "refused", "unknown"], rows
        ),
        "costs": markdown(
            ["a write takes, ms", *(f"{link}, {what}" for link in links for what in ("median", "p99"))],
            [
                [setting.name, *(costs[link, name][what] for link in links for what in ("median", "p99"))]
                for name, setting in SETTINGS.items()
            ],
        ),
    }


def main(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench failover", description="What a fail-over of Redis loses of the sessions."
    )
    parser.add_argument(
        "--rounds", type=between(1, 1_000, int), default=3, metavar="N", help="of each kind; default: 3"
    )
    parser.add_argument(
        "--seconds",
        type=between(0.1, 3_600, float),
        default=3.0,
        metavar="S",
        help="before the fault, and from when another master has taken over until what is cut off, frozen or "
        "to be started again is back; default: 3",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", default=Path("benchmarks/results/failover.json"))
    parser.add_argument("--write-docs", action="store_true", help=f"write the tables of {PAGE} anew")
    arguments = parser.parse_args(given)
    check_writable(parser, arguments.json, *([RUN, PAGE] if arguments.write_docs else []))
    found = measure(arguments.rounds, arguments.seconds)
    for name, text in tables(found).items():
        print(f"\n{name}\n\n{text}")
    text = json.dumps(found, indent=1) + "\n"
    write(arguments.json, text)
    print(f"\nwritten to {arguments.json}")
    if arguments.write_docs:
        RUN.write_text(text, "utf-8")
        PAGE.write_text(filled(PAGE.read_text("utf-8"), tables(found)), "utf-8")
        print(f"and to {PAGE} and {RUN}")
    return 0
