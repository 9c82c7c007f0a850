"""Remove what is left in STORAGE of uploads whose server was killed.

That is multipart uploads that S3 keeps the parts of, temporary files of a folder, and pieces of resumable
uploads that were never finished. Objects are never touched.

STORAGE is a folder, such as /srv/media, or s3://bucket/prefix; only what is below the prefix is looked at.
Run it once a day.
"""

import argparse
from typing import TYPE_CHECKING

from scalekit.cli._stop import Stopped, run_until_stopped
from scalekit.cli._values import duration

if TYPE_CHECKING:
    from scalekit.cli._terminal import Terminal
    from scalekit.storage import Leftover
    from scalekit.storage.sweep import Swept

SUMMARY = "remove what is left of uploads whose server was killed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("storage", metavar="STORAGE", help="where to look")
    parser.add_argument(
        "--older-than",
        type=duration,
        default=86400.0,
        metavar="AGE",
        help="what has not grown for so long, such as 24h or 7d (24h); an hour at least",
    )
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, and say what would be")


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    from scalekit.errors import ConfigurationError
    from scalekit.storage.sweep import MIN_AGE, sweep
    from scalekit.storage.urls import storage_from_url

    if arguments.older_than < MIN_AGE:
        minutes = f"{arguments.older_than / 60:g}m"
        raise ConfigurationError(f"--older-than {minutes}; give an hour at least, younger ones may go on")

    count, word = 0, "would be removed" if arguments.dry_run else "removed"

    async def work() -> "Swept":
        async with storage_from_url(arguments.storage, must_exist=True) as storage:
            return await sweep(
                storage, arguments.older_than, dry_run=arguments.dry_run, on_removal=on_removal
            )

    def on_removal(leftover: "Leftover") -> None:
        nonlocal count
        count += 1
        terminal.record(_facts(leftover))
        show(f"looking on; {count} {word}")

    try:
        with terminal.status() as show:
            swept = run_until_stopped(work())
    except Stopped:
        terminal.problem("stopped; what was removed is gone. Run it again to go on")
        raise
    for leftover, reason in swept.failed:
        terminal.record(_facts(leftover) | {"reason": reason})
        terminal.problem(f"failed: {leftover.kind} {leftover.name}: {reason}")
    if swept.removed:
        terminal.table(
            ["last grown", "size", "what", "of"],
            [
                [
                    f"{leftover.modified:%Y-%m-%d %H:%M}",
                    terminal.size(leftover.size),
                    leftover.kind,
                    leftover.name,
                ]
                for leftover in swept.removed
            ],
        )
    size = sum(leftover.size for leftover in swept.removed)
    terminal.say(f"{len(swept.removed)} {word} ({terminal.size(size)})")
    terminal.record(
        {
            "done": True,
            "dry_run": arguments.dry_run,
            "removed": len(swept.removed),
            "failed": len(swept.failed),
        }
        | {"bytes": size}
    )
    return 1 if swept.failed else 0


def _facts(leftover: "Leftover") -> dict[str, object]:
    return {
        "kind": leftover.kind,
        "name": leftover.name,
        "modified": leftover.modified.isoformat(),
        "size": leftover.size,
    }
