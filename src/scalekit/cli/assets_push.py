"""Bring the assets in FOLDER to DST, and make them the current release there.

DST is s3://bucket/prefix, where the CDN finds them below the same path: s3://shop-assets/static for
/static/. For a server other than Amazon's add ?endpoint_url=https://... Quote it, because of the question
mark. Credentials come from the environment or from AWS_PROFILE.

Only what is missing or changed is sent. If it is stopped, at any point, the site is whole, the old one or
the new one; run it again, and it goes on.
"""

import argparse
from typing import TYPE_CHECKING

from scalekit.cli import _assets
from scalekit.cli._stop import Stopped, run_until_stopped
from scalekit.cli._values import positive

if TYPE_CHECKING:
    from scalekit._s3_url import Place
    from scalekit.cdn.push import Change, PushProgress, PushReport
    from scalekit.cli._terminal import Terminal

SUMMARY = "bring built assets to S3, for a CDN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("destination", metavar="DST", help="where to, such as s3://shop-assets/static")
    _assets.add_source(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing, and say what would be")
    parser.add_argument(
        "--check-headers",
        action="store_true",
        help="send again what is there with other headers: another tool has brought it",
    )
    parser.add_argument("--concurrency", type=positive, default=16, metavar="N", help="files at a time (16)")
    parser.add_argument("--verbose", "-v", action="store_true", help="say what becomes of each file")


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    from scalekit.cdn._s3_url import parse
    from scalekit.cdn.push import push

    def on_progress(now: "PushProgress") -> None:
        bar.update(now.done, now.total, f"{now.report.created + now.report.replaced} sent")

    def on_change(change: "Change") -> None:
        terminal.record({"file": change.name, "action": change.action, "size": change.size})
        if (arguments.verbose or arguments.dry_run) and change.action != "unchanged":
            terminal.say(f"{change.action:<9} {change.name}")

    assets = _assets.find(arguments)
    try:
        with terminal.progress("push") as bar:
            report = run_until_stopped(
                push(
                    assets,
                    arguments.destination,
                    check_headers=arguments.check_headers,
                    dry_run=arguments.dry_run,
                    concurrency=arguments.concurrency,
                    on_change=on_change,
                    on_progress=on_progress,
                )
            )
    except Stopped:
        terminal.problem("stopped; the site is whole, the old one or the new one. Run it again to go on")
        raise
    _conclude(report, terminal, arguments)
    _hint(parse(arguments.destination), assets.prefix, terminal)
    return 0


def _hint(place: "Place", url: str, terminal: "Terminal") -> None:
    """Whether a CDN that takes paths as they are will find the files. What stands before them is its own."""
    if not f"/{place.prefix}".endswith(url):
        terminal.problem(
            f"pages have the files below {url}, and {place} has them below /{place.prefix}: "
            f"push to s3://{place.bucket}{url.rstrip('/')}, or have the CDN translate the paths"
        )


def _conclude(report: "PushReport", terminal: "Terminal", arguments: argparse.Namespace) -> None:
    counts = {"created": report.created, "replaced": report.replaced, "unchanged": report.unchanged}
    terminal.record(
        {"done": True, "dry_run": arguments.dry_run, **counts}
        | {"bytes_written": report.bytes_written, "is_new": report.is_new}
    )
    said = ", ".join(f"{count} {action}" for action, count in counts.items() if count) or "no files"
    would = "would be: " if arguments.dry_run else ""
    release = "a new release" if report.is_new else "the release that is there"
    terminal.say(f"{would}{said} ({terminal.size(report.bytes_written)}), {release}")
