"""Measure contenders side by side in one run, so that only their ratio is reported as a fact.

The contenders of a case take turns, round by round and in rotating order: whatever slows the machine
down for a while slows all of them. A number is the median over the rounds of the time of one unit.
"""

import gc
import inspect
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks._results import write

Contender = Callable[[], Awaitable[object] | object]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured. Each contender is a callable, sync or async, that does ``units`` units of work, or
    returns as an ``int`` how many it has done.

    Args:
        piece: ``"sessions"``, ``"cache"``, ...
        name: what is measured, e.g. ``"read, 32 concurrent"``.
        ours: our contender.
        peers: the contenders of the peers by name and version; each gives a row of the table.
        floor: the least work that could give the same answer, or ``None``.
        rate: report the floor's columns as shares of its units/s, the inverse of what they are otherwise.
        base: what all of them stand on, such as a bare application: its time is taken off every number.
        units: operations that one call performs; times are reported for one of them.
        rounds: how often each contender is called.
    """

    piece: str
    name: str
    ours: Contender
    peers: Mapping[str, Contender]
    floor: Contender | None = None
    rate: bool = False
    base: Contender | None = None
    units: int = 1
    rounds: int = 30


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line of the JSON: microseconds for one unit; ``ratio`` is ours / peer, below 1 is faster."""

    piece: str
    case: str
    ours_us: float
    peer: str | None
    peer_us: float | None
    ratio: float | None
    floor_us: float | None
    rate: bool


async def _time(contender: Contender, units: int) -> float:
    start = time.perf_counter()
    result = contender()
    if inspect.isawaitable(result):
        result = await result
    elapsed = time.perf_counter() - start
    return elapsed / (result if isinstance(result, int) else units) * 1e6


async def measure(case: Case) -> list[Result]:
    """Run one case: one warm-up call each, then ``case.rounds`` interleaved rounds. One result a peer."""
    contenders = {("peer", name): peer for name, peer in case.peers.items()}
    for role, contender in (("ours", case.ours), ("floor", case.floor), ("base", case.base)):
        if contender is not None:
            contenders[role, ""] = contender
    for contender in contenders.values():
        await _time(contender, case.units)
    times: dict[tuple[str, str], list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(case.rounds):
        gc.collect()
        for offset in range(len(names)):
            name = names[(turn + offset) % len(names)]
            times[name].append(await _time(contenders[name], case.units))
    median = {name: statistics.median(samples) for name, samples in times.items()}
    base = median.pop(("base", ""), 0.0)
    median = {name: round(value - base, 2) for name, value in median.items()}
    ours, floor = median["ours", ""], median.get(("floor", ""))
    peers = [(name, median["peer", name], round(ours / median["peer", name], 3)) for name in case.peers]
    return [
        Result(
            piece=case.piece,
            case=case.name,
            ours_us=ours,
            peer=peer,
            peer_us=peer_us,
            ratio=ratio,
            floor_us=floor,
            rate=case.rate,
        )
        for peer, peer_us, ratio in peers or [(None, None, None)]
    ]


def table(results: list[Result]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| piece | case | ours, us | peer | its us | ours / peer | floor, us | ours / floor | peer / floor |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in results:
        cells: list[object] = [
            row.piece,
            row.case,
            row.ours_us,
            row.peer,
            row.peer_us,
            row.ratio,
            row.floor_us,
        ]
        for number in (row.ours_us, row.peer_us):
            if number is None or not row.floor_us:
                cells.append(None)
            else:
                share = f"{row.floor_us / number:.2f} of its rate"
                cells.append(share if row.rate else f"{number / row.floor_us:.2f}")
        lines.append(f"| {' | '.join('-' if cell is None else str(cell) for cell in cells)} |")
    return "\n".join(lines)


def save(results: list[Result], path: Path) -> None:
    """Write the results as a JSON list."""
    write(path, json.dumps([asdict(row) for row in results], indent=2) + "\n")
