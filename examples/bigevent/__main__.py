"""``./dev bench bigevent [--seconds N] [--json FILE] [--html FILE] [--without PIECE ...] [--ablations]``."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._arguments import between
from benchmarks._results import check_writable, write
from examples.bigevent.faults import SCHEDULE, SHORT
from examples.bigevent.page import page
from examples.bigevent.report import report, summary, table, unexpected
from examples.bigevent.run import Options, run
from examples.bigevent.settings import PIECES
from tests.servers import ServerFailed, ServerMissing

_RESULTS = Path("benchmarks/results")


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench bigevent",
        description="A shop on its big day, with everything that breaks on such a day.",
    )
    parser.add_argument(
        "--seconds", type=between(10, 86_400, float), default=150.0, metavar="N",
        help="how long visitors come, 150 by default; less than 100 leaves little time between the faults",
    )  # fmt: skip
    parser.add_argument(
        "--users", type=between(1, 500, int), default=12, metavar="N",
        help="visitors at a time, 12 by default; ten times as many in the burst",
    )  # fmt: skip
    for option, what in (("json", "the figures"), ("html", "a page with plots")):
        parser.add_argument(
            f"--{option}", type=Path, metavar="FILE", default=_RESULTS / f"bigevent.{option}",
            help=f"where {what} go, benchmarks/results/bigevent.{option} by default",
        )  # fmt: skip
    parser.add_argument(
        "--without", action="append", choices=PIECES, default=[], metavar="PIECE",
        help=f"switch a piece off, and do what people do without it; any of {', '.join(PIECES)}",
    )  # fmt: skip
    parser.add_argument(
        "--ablations", action="store_true", help="run once with everything on, and once without each piece"
    )
    parser.add_argument(
        "--redis", choices=("sentinel", "cluster"), default="sentinel",
        help="a master with two replicas and Sentinel, or a cluster of three masters with a replica each",
    )  # fmt: skip
    parser.add_argument(
        "--wait-replicas", type=between(0, 2, int), default=0, metavar="N",
        help="replicas of Redis that a session's write waits for, 0 by default",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=between(0, 2**32, int), default=1, metavar="N",
        help="of chance, by which processes are killed and drained besides; 1 by default",
    )  # fmt: skip
    parser.add_argument("--few-faults", action="store_true", help="only those of the tests")
    arguments = parser.parse_args(given)
    if arguments.ablations and arguments.without:
        parser.error("--ablations runs without each piece in turn; leave out --without")
    check_writable(parser, arguments.json, arguments.html)
    return arguments


async def _runs(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    variants = [tuple(arguments.without)]
    if arguments.ablations:
        variants = [(), *((piece,) for piece in PIECES)]
    reports = []
    for without in variants:
        _say(f"\n{'Without ' + ' and '.join(without) if without else 'Everything on'}")
        options = Options(
            seconds=arguments.seconds,
            users=arguments.users,
            without=without,
            redis=arguments.redis,
            wait_replicas=arguments.wait_replicas,
            schedule=SHORT if arguments.few_faults else SCHEDULE,
            seed=None if arguments.few_faults else arguments.seed,
        )
        found = report(await run(options, say=lambda text: _say(f"  {text}")))
        _say(summary(found))
        reports.append(found)
        # After each: what has been measured is not lost with what goes wrong later.
        write(arguments.json, json.dumps(reports if arguments.ablations else found, indent=1) + "\n")
        write(arguments.html, page(reports))
    return reports


async def _until_stopped(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Ctrl-C and SIGTERM end the run, and all that it has started."""
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        print("stopping ...", file=sys.stderr)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return await _runs(arguments)


def _say(text: str) -> None:
    print(text, flush=True)


def main(given: Sequence[str] | None = None) -> int:
    """The exit status: 1 if a run with everything on had a violation, or nothing could be run; 2 if it was
    not understood; 130 if it was stopped; and else 0."""
    arguments = _arguments(sys.argv[1:] if given is None else given)
    try:
        reports = asyncio.run(_until_stopped(arguments))
    except (ServerFailed, ServerMissing) as error:
        print(f"bigevent: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        print("stopped; everything that was started is gone", file=sys.stderr)
        return 130
    _say(f"\n{table(reports)}\n\nwritten to {arguments.json} and {arguments.html}")
    if found := unexpected(reports):
        counted = ", ".join(f"{name} {count:,}" for name, count in found.items())
        print(f"bigevent: with everything on there were violations: {counted}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
