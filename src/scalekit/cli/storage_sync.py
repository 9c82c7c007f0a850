"""Write to DST what SRC has and it has not, or has otherwise.

SRC and DST are folders, such as /srv/media, or s3://bucket/prefix; for a server other than Amazon's
add ?endpoint_url=https://... Quote it, because of the question mark. Credentials come from the
environment or from AWS_PROFILE.

Both may be in use meanwhile. If it is stopped, at any point, run it again: it goes on.
"""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from scalekit.cli._stop import Stopped, run_until_stopped
from scalekit.cli._values import positive

if TYPE_CHECKING:
    from scalekit.cli._terminal import Terminal
    from scalekit.storage.moving import Change, Compare, SyncProgress, SyncReport

SUMMARY = "bring one storage to the state of another"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="what to read; never written to")
    parser.add_argument("destination", metavar="DST", help="what to write to")
    parser.add_argument("--prefix", default="", metavar="TEXT", help="only keys that begin with TEXT")
    parser.add_argument("--delete", action="store_true", help="remove from DST what SRC does not have")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, and say what would be")
    compare = parser.add_mutually_exclusive_group()
    for option, text in (
        ("--checksum", "believe no checksum that is kept: read both sides"),
        ("--size-only", "take the same size for the same content: for keys that are never written twice"),
        ("--ignore-existing", "leave alone whatever DST has: for one that is in use already"),
    ):
        compare.add_argument(option, action="store_true", help=text)
    parser.add_argument("--concurrency", type=positive, default=8, metavar="N", help="objects at a time (8)")
    parser.add_argument("--verbose", "-v", action="store_true", help="say what becomes of each object")


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    from scalekit.storage.moving import sync
    from scalekit.storage.urls import storage_from_url

    async def work() -> "SyncReport":
        async with (
            storage_from_url(arguments.source, must_exist=True) as source,
            storage_from_url(arguments.destination) as destination,
        ):
            return await sync(
                source,
                destination,
                prefix=arguments.prefix,
                compare=_compare(arguments),
                delete=arguments.delete,
                dry_run=arguments.dry_run,
                concurrency=arguments.concurrency,
                on_progress=on_progress,
                on_change=on_change,
            )

    def on_progress(now: "SyncProgress") -> None:
        bar.update(now.done, now.total, f"{_written(now.report)} written")

    def on_change(change: "Change") -> None:
        _tell(change, terminal, listed=arguments.verbose or arguments.dry_run)

    try:
        with terminal.progress("sync") as bar:
            report = run_until_stopped(work())
    except Stopped:
        terminal.problem("stopped; what was written stays. Run it again to go on")
        raise
    _conclude(report, terminal, arguments)
    return 1 if report.failed or report.skipped else 0


def _compare(arguments: argparse.Namespace) -> "Compare":
    if arguments.checksum:
        return "content"
    if arguments.size_only:
        return "size"
    return "presence" if arguments.ignore_existing else "checksum"


def _tell(change: "Change", terminal: "Terminal", *, listed: bool) -> None:
    reason = {} if change.reason is None else {"reason": change.reason}
    terminal.record({"key": change.key, "action": change.action, "size": change.size, **reason})
    if change.reason is not None:
        terminal.problem(f"{change.action:<9} {change.key}: {change.reason}")
    elif listed and change.action != "unchanged":
        terminal.say(f"{change.action:<9} {change.key}")


def _conclude(report: "SyncReport", terminal: "Terminal", arguments: argparse.Namespace) -> None:
    facts = asdict(report)
    terminal.record({"done": True, "dry_run": arguments.dry_run, **facts})
    size = terminal.size(facts.pop("bytes_written"))
    counts = ", ".join(f"{count} {action}" for action, count in facts.items() if count) or "nothing there"
    terminal.say(f"{'would be: ' if arguments.dry_run else ''}{counts} ({size})")
    if arguments.delete and report.failed:
        terminal.problem("nothing was deleted, because not all was written")


def _written(report: "SyncReport") -> int:
    return report.created + report.replaced
