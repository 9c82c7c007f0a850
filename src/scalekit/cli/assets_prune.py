"""Remove from DST what only old releases had.

DST is what assets were pushed to, such as s3://shop-assets/static. The current release stays, the last ones
do, and whatever was the current one lately. What was not brought by a push is never touched. It may run
while somebody pushes.
"""

import argparse
from contextlib import nullcontext
from typing import TYPE_CHECKING

from scalekit.cli._stop import Stopped, run_until_stopped
from scalekit.cli._values import counted, duration, positive

if TYPE_CHECKING:
    from scalekit.cdn.prune import Removal
    from scalekit.cli._terminal import Terminal

SUMMARY = "remove the assets of old releases from S3"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("destination", metavar="DST", help="where they were pushed to")
    parser.add_argument(
        "--keep", type=positive, default=3, metavar="N", help="releases that stay, however old (3)"
    )
    parser.add_argument(
        "--older-than",
        type=duration,
        default=7 * 86400.0,
        metavar="AGE",
        help="a release stays so long after another has followed it, such as 24h (7d); an hour at least",
    )
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, and say what would be")
    parser.add_argument("--verbose", "-v", action="store_true", help="list what is removed")


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    from scalekit.cdn._s3_url import parse
    from scalekit.cdn.prune import LEAST_AGE, prune
    from scalekit.errors import ConfigurationError

    if arguments.older_than < LEAST_AGE:
        minutes = f"{arguments.older_than / 60:g}m"
        raise ConfigurationError(
            f"--older-than {minutes}; give an hour at least, a push may count on younger ones"
        )

    count = 0

    def on_removal(removal: "Removal") -> None:
        nonlocal count
        count += 1
        terminal.record({"name": removal.name, "kind": removal.kind, "size": removal.size})
        if arguments.verbose or arguments.dry_run:
            terminal.say(f"{'would remove' if arguments.dry_run else 'removed'}   {removal.name}")
        else:
            show(f"{count} removed")

    try:
        # Where each is listed, that is the progress.
        with terminal.status() if not arguments.verbose else nullcontext(str) as show:
            report = run_until_stopped(
                prune(
                    arguments.destination,
                    keep=arguments.keep,
                    age=arguments.older_than,
                    dry_run=arguments.dry_run,
                    on_removal=on_removal,
                )
            )
    except Stopped:
        terminal.problem("stopped; no release that stays has lost anything. Run it again to go on")
        raise
    if arguments.dry_run:
        for removal in report.removed:
            on_removal(removal)
    if report.kept == 0 and not report.removed:
        terminal.problem(f"nothing has been pushed to {parse(arguments.destination)}")
    files = sum(removal.kind == "file" for removal in report.removed)
    terminal.record(
        {"done": True, "dry_run": arguments.dry_run, "removed": files, "bytes": report.size}
        | {"kept_releases": report.kept}
    )
    word = "would be removed" if arguments.dry_run else "removed"
    size, kept = terminal.size(report.size), counted(report.kept, "release")
    terminal.say(f"{counted(files, 'file')} {word} ({size}), {kept} kept")
    return 0
