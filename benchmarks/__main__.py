"""``./dev bench [piece ...]``: ours, the named peers and the floor, interleaved in one run.

``./dev bench bigevent`` is another thing: the proof, see ``examples/bigevent``. So is ``./dev bench scale``:
what things cost as they grow; and ``./dev bench failover``: what sessions lose when Redis's master dies.
"""

import argparse
import asyncio
import importlib
import sys
from pathlib import Path

from benchmarks import harness

PIECES = ("redis", "sessions", "database", "cache", "storage", "cdn", "shedding")


async def main(pieces: list[str], path: Path) -> None:
    results: list[harness.Result] = []
    for piece in pieces:
        module = importlib.import_module(f"benchmarks.bench_{piece}")
        async for case in module.cases():
            if isinstance(case, list):  # of what is no time of one unit, such as how often a query ran
                results += case
                print(f"{piece}: {case[0].case} done", flush=True)
                continue
            results += await harness.measure(case)
            print(f"{case.piece}: {case.name} done", flush=True)
    print("\n" + harness.table(results))
    harness.save(results, path)
    print(f"\nwritten to {path}")


def run_from(given: list[str]) -> None:
    """The command line."""
    if given[:1] == ["bigevent"]:  # no comparison, but the proof: it has options of its own
        from examples.bigevent.__main__ import main as bigevent

        raise SystemExit(bigevent(given[1:]))
    if given[:1] == ["scale"]:
        from benchmarks.bench_scale import main as scale

        raise SystemExit(scale(given[1:]))
    if given[:1] == ["failover"]:
        from benchmarks.bench_failover import main as failover

        raise SystemExit(failover(given[1:]))
    parser = argparse.ArgumentParser(
        prog="./dev bench", description="Ours, the named peers and the floor, in one run."
    )
    parser.add_argument(
        "pieces",
        nargs="*",
        metavar="PIECE",
        help=f"any of {', '.join(PIECES)}; all by default. 'bigevent', 'scale' and 'failover' are something "
        "else: see their --help",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        default=Path("benchmarks/results/results.json"),
        help="where the figures go, benchmarks/results/results.json by default",
    )
    arguments = parser.parse_args(given)
    for name in arguments.pieces:
        if name not in PIECES:
            parser.error(
                f"unknown piece {name!r}; choose from {', '.join(PIECES)}; or bigevent, or scale, alone"
            )
    asyncio.run(main(arguments.pieces or list(PIECES), arguments.json))


if __name__ == "__main__":
    run_from(sys.argv[1:])
