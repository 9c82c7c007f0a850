"""``./dev bench [piece ...]``: ours, the named peers and the floor, interleaved in one run."""

import argparse
import asyncio
import importlib
from pathlib import Path

from benchmarks import harness

PIECES = ("redis", "sessions", "database", "cache", "storage", "cdn")


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("pieces", nargs="*", help=f"any of {', '.join(PIECES)}; default: all")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/results.json"))
    arguments = parser.parse_args()
    for name in arguments.pieces:
        if name not in PIECES:
            parser.error(f"unknown piece {name!r}; choose from {', '.join(PIECES)}")
    asyncio.run(main(arguments.pieces or list(PIECES), arguments.json))
