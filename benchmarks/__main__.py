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
from benchmarks._results import check_writable
from tests.servers import ServerFailed, ServerMissing

PIECES = ("redis", "sessions", "database", "cache", "storage", "cdn", "shedding")
APART = {
    "bigevent": "examples.bigevent.__main__",
    "scale": "benchmarks.bench_scale",
    "failover": "benchmarks.bench_failover",
}
"""What is no comparison, and has options of its own: the modules, whose ``main`` takes them."""


async def measure(pieces: list[str], path: Path) -> None:
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


def compare(given: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description="Ours, the named peers and the floor, in one run."
    )
    apart = ", ".join(APART)
    parser.add_argument(
        "pieces",
        nargs="*",
        metavar="PIECE",
        help=f"any of {', '.join(PIECES)}; all by default. {apart} are something else, each alone: see their "
        "--help",
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
            parser.error(f"unknown piece {name!r}; choose from {', '.join(PIECES)}; or, alone, from {apart}")
    check_writable(parser, arguments.json)
    asyncio.run(measure(arguments.pieces or list(PIECES), arguments.json))
    return 0


def main(given: list[str]) -> int:
    """The exit status: 1 if a server is missing or did not start, 130 after Ctrl-C."""
    try:
        if given[:1] and given[0] in APART:
            status: int = importlib.import_module(APART[given[0]]).main(given[1:])
            return status
        return compare(given)
    except (ServerFailed, ServerMissing) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
