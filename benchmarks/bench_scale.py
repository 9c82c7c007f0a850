"""What things cost as they grow: ``./dev bench scale [series ...] [--most N] [--json FILE] [--write-docs]``.

The plots and the tables of ``docs/howto/scale.md`` come from ``./dev bench scale --write-docs``.
"""

import argparse
import asyncio
import importlib
import json
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import _scale_arithmetic as arithmetic
from benchmarks._arguments import between
from benchmarks._results import check_writable, write
from benchmarks._scale_series import Series
from tests.servers import RedisServer

SERIES = ("processes", "sessions", "cache", "uploads", "replicas")
PLOTS = Path("docs/_static")
RUN = PLOTS / "scale.json"
"""What the plots and the tables of the page were made of."""
PAGE = Path("docs/howto/scale.md")

_TABLE = re.compile(r"(<!-- (?:scale|failover): ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


async def measure(names: Sequence[str], most: int | None) -> dict[str, Any]:
    """A run: where and when, and the series by name."""
    found: dict[str, Any] = {"where": where(), "series": {}}
    start = time.perf_counter()
    for name in names:
        module = importlib.import_module(f"benchmarks.bench_scale_{name}")
        async for series in module.series(*([] if most is None else [most])):
            print(f"\n{series.title}\n\n{series.table()}", flush=True)
            found["series"][series.name] = series.as_json()
    found["where"]["seconds"] = round(time.perf_counter() - start)
    return found


def where() -> dict[str, Any]:
    with RedisServer() as server:
        info = server.info("server")
    name = info.get("server_name", "redis").capitalize()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "redis": f"{name} {info.get('valkey_version', info['redis_version'])}",
    }


def series_of(run: Mapping[str, Any]) -> dict[str, Series]:
    return {name: Series(**fields) for name, fields in run["series"].items()}


def tables(run: Mapping[str, Any]) -> dict[str, str]:
    """What stands between the marks of the page, by name."""
    found = {name: series.table() for name, series in series_of(run).items()}
    place = run["where"]
    # A load of one for each core is a machine that does nothing else.
    state = "while others were at work on it" if place["load"] > place["cores"] else "that did nothing else"
    found["where"] = (
        f"Measured on {place['date']} with Python {place['python']} and {place['redis']}, over loopback, on "
        f"{place['cores']} cores {state} (load {place['load']:g} at the start); it took {place['seconds']} s."
    )
    if {"costs", "processes", "sessions-memory"} <= found.keys():
        found["arithmetic"] = arithmetic.table(measured(series_of(run)))
    return found


def measured(series: Mapping[str, Series]) -> arithmetic.Measured:
    processes = series["processes"]
    listeners, told = processes.rows[-1][0], processes.column("bytes told of a drop")
    # What is left out is what whoever has dropped it was answered.
    each = (told[-1] - told[0]) / (listeners - processes.rows[0][0]) if len(told) > 1 else told[0]
    session = series["sessions-memory"].column("bytes each")[-1]
    return arithmetic.Measured.of(series["costs"].rows, each, session)


def filled(page: str, found: Mapping[str, str]) -> str:
    """The page with these tables between its marks; others stay."""

    def fill(match: re.Match[str]) -> str:
        begin, name, text, end = match.groups()
        return f"{begin}{found[name]}\n{end}" if name in found else f"{begin}{text}{end}"

    return _TABLE.sub(fill, page)


def write_docs(run: Mapping[str, Any], root: Path = Path()) -> None:
    """The plots, the run, and the tables of the page."""
    write_run(run, root / RUN)
    page = root / PAGE
    page.write_text(filled(page.read_text("utf-8"), tables(run)), "utf-8")


def write_run(run: Mapping[str, Any], path: Path) -> None:
    """The run, and its plots beside it."""
    write(path, json.dumps(run, indent=1) + "\n")
    for name, series in series_of(run).items():
        if series.drawn:
            write(path.with_name(f"scale-{name}.svg"), series.svg())


def _written(path: Path) -> list[Path]:
    """What :func:`write_run` may write; a name of one plot stands for all that are not there yet."""
    return [path, path.with_name("scale-new.svg"), *path.parent.glob("scale-*.svg")]


def main(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench scale", description="Cost as things grow: tables, plots, and the page of the docs."
    )
    parser.add_argument("series", nargs="*", help=f"any of {', '.join(SERIES)}; default: all")
    parser.add_argument(
        "--most", type=between(0, 10**9, int), metavar="N", help="leave out what is larger; for a quick look"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", default=Path("benchmarks/results/scale.json"))
    parser.add_argument(
        "--write-docs", action="store_true", help=f"write {PLOTS}/scale-*.svg and the tables of {PAGE} anew"
    )
    arguments = parser.parse_args(given)
    for name in arguments.series:
        if name not in SERIES:
            parser.error(f"unknown series {name!r}; choose from {', '.join(SERIES)}")
    for name in arguments.series or SERIES:
        least = importlib.import_module(f"benchmarks.bench_scale_{name}").COUNTS[0]
        if arguments.most is not None and arguments.most < least:
            parser.error(f"--most {arguments.most} leaves nothing of {name}, which begins at {least:,}")
    if arguments.write_docs and (arguments.series or arguments.most is not None):
        parser.error("--write-docs is for a whole run: one page, one machine, one day")
    check_writable(parser, *_written(arguments.json))
    if arguments.write_docs:
        check_writable(parser, *_written(RUN), PAGE)
    run = asyncio.run(measure(arguments.series or SERIES, arguments.most))
    write_run(run, arguments.json)
    print(f"\nwritten to {arguments.json}")
    if arguments.write_docs:
        write_docs(run)
        print(f"and to {PAGE} and {PLOTS}")
    return 0
