"""Build the assets of the folder SRC into OUT: hashed files, precompressed variants, and manifest.json.

A server takes its names from there: Assets.from_manifest("OUT/manifest.json", folder="OUT"). The files of the
last releases stay. If it is stopped, at any point, OUT has the release that it had; run it again to go on.
"""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from scalekit.cli._stop import Stopped, stoppable
from scalekit.cli._values import counted, level, positive

if TYPE_CHECKING:
    from scalekit.cdn.build import BuildChange, BuildProgress, BuildReport
    from scalekit.cli._terminal import Terminal

SUMMARY = "hash and compress assets before they are served"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="the folder of the assets; never written to")
    parser.add_argument("out", metavar="OUT", help="the folder to build into; made if it is not there")
    parser.add_argument(
        "--url", default="/static/", metavar="PATH", help="the path they will be served under (/static/)"
    )
    parser.add_argument(
        "--keep",
        type=positive,
        default=3,
        metavar="N",
        help="releases whose files stay, with this one (3)",
    )
    for coding, option, least, most in (
        ("br", "--brotli", 0, 11), ("gzip", "--gzip", 1, 9), ("zstd", "--zstd", 1, 19),
    ):  # fmt: skip
        parser.add_argument(
            option,
            dest=coding,
            type=level(least, most),
            default=most,
            metavar="LEVEL",
            help=f"of compression, {least} to {most}, or none ({most})",
        )
    parser.add_argument("--jobs", type=positive, metavar="N", help="files at a time (one a processor)")
    parser.add_argument("--verbose", "-v", action="store_true", help="say what becomes of each file")


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    from scalekit.cdn.build import build
    from scalekit.cdn.compress import Compression

    def on_progress(now: "BuildProgress") -> None:
        bar.update(now.done, now.total, "")

    def on_change(change: "BuildChange") -> None:
        terminal.record({"name": change.name, "action": change.action, "size": change.size})
        if arguments.verbose:
            terminal.say(f"{change.action:<9} {change.name}")

    try:
        with terminal.progress("build") as bar, stoppable():
            report = build(
                arguments.source,
                arguments.out,
                url=arguments.url,
                keep=arguments.keep,
                compression=Compression(br=arguments.br, gzip=arguments.gzip, zstd=arguments.zstd),
                jobs=arguments.jobs,
                on_change=on_change,
                on_progress=on_progress,
            )
    except Stopped:
        terminal.problem("stopped; a release that was there still is. Run it again to go on")
        raise
    except BrokenPipeError:  # of our own output
        raise
    except OSError as error:
        terminal.problem(
            f"{error.filename or arguments.out}: {error.strerror}; a release that was there still is. Make "
            "room, or correct the path and its rights, and run it again"
        )
        return 1
    _conclude(report, terminal)
    return 0


def _conclude(report: "BuildReport", terminal: "Terminal") -> None:
    for name, why in report.doubtful.items():
        terminal.problem(f"not understood, and served as it is: {name}: {why}")
    for name, target in report.missing_maps.items():
        terminal.problem(f"no source map {target}, which {name} names")
    if report.missing_codings:
        named = " and ".join(report.missing_codings)
        terminal.problem(
            f"no variants in {named}: pip install 'scalekit[compress]', or from beside a checkout "
            "'./scalekit[compress]', makes them"
        )
    terminal.record({"done": True, **asdict(report)})
    size = terminal.size(report.bytes_written)
    terminal.say(
        f"{counted(report.assets, 'asset')}: {counted(report.written, 'file')} written ({size}), "
        f"{report.unchanged} unchanged, {report.removed} removed; {counted(report.releases, 'release')} kept"
    )
