"""Measure contenders side by side in one run, so that only their ratio is reported as a fact.

The contenders of a case take turns, round by round and in rotating order: whatever slows the machine
down for a while slows all of them. A number is the median over the rounds of the time of one unit.
"""

import gc
import inspect
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

Contender = Callable[[], Awaitable[object] | object]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table. Each contender is a callable, sync or async, that does ``units`` units of work.

    Args:
        piece: ``"sessions"``, ``"cache"``, ...
        name: what is measured, e.g. ``"read, 32 concurrent"``.
        ours: our contender.
        peer: the peer's name and version.
        theirs: the peer's contender.
        floor: the least work that could give the same answer, or ``None``.
        units: operations that one call performs; times are reported for one of them.
        rounds: how often each contender is called.
    """

    piece: str
    name: str
    ours: Contender
    peer: str
    theirs: Contender
    floor: Contender | None = None
    units: int = 1
    rounds: int = 30


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line of the JSON: microseconds for one unit; ``ratio`` is ours / peer, below 1 is faster."""

    piece: str
    case: str
    ours_us: float
    peer: str
    peer_us: float
    ratio: float
    floor_us: float | None


async def _time(contender: Contender, units: int) -> float:
    start = time.perf_counter()
    result = contender()
    if inspect.isawaitable(result):
        await result
    return (time.perf_counter() - start) / units * 1e6


async def measure(case: Case) -> Result:
    """Run one case: one warm-up call each, then ``case.rounds`` interleaved rounds."""
    contenders = {"ours": case.ours, "peer": case.theirs}
    if case.floor is not None:
        contenders["floor"] = case.floor
    for contender in contenders.values():
        await _time(contender, case.units)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(case.rounds):
        gc.collect()
        for offset in range(len(names)):
            name = names[(turn + offset) % len(names)]
            times[name].append(await _time(contenders[name], case.units))
    median = {name: statistics.median(samples) for name, samples in times.items()}
    return Result(
        piece=case.piece,
        case=case.name,
        ours_us=round(median["ours"], 2),
        peer=case.peer,
        peer_us=round(median["peer"], 2),
        ratio=round(median["ours"] / median["peer"], 3),
        floor_us=round(median["floor"], 2) if "floor" in median else None,
    )


def table(results: list[Result]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| piece | case | ours, us | peer | peer, us | ours / peer | floor, us | ours / floor |",
        "|---|---|---:|---|---:|---:|---:|---:|",
    ]
    for row in results:
        floor = f"{row.floor_us} | {row.ours_us / row.floor_us:.2f}" if row.floor_us else "- | -"
        peer = f"{row.peer} | {row.peer_us} | {row.ratio}"
        lines.append(f"| {row.piece} | {row.case} | {row.ours_us} | {peer} | {floor} |")
    return "\n".join(lines)


def save(results: list[Result], path: Path) -> None:
    """Write the results as a JSON list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in results], indent=2) + "\n")
