"""Look at the settings of the bucket of STORAGE, and say what is missing and how to set it.

That is a rule by which S3 itself aborts uploads that nobody completes, and, for each --origin, one by which
pages of that origin may upload straight to the bucket. Nothing is changed: what is printed are commands of
AWS's own tool, which keep the rules that are there.

STORAGE is s3://bucket/prefix, as for the other commands. The exit status is 1 if something is missing.
"""

import argparse
from typing import TYPE_CHECKING

from scalekit.cli._stop import run_until_stopped

if TYPE_CHECKING:
    from scalekit.cli._terminal import Terminal
    from scalekit.storage.bucket import Finding

SUMMARY = "look at the settings of a bucket"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("storage", metavar="STORAGE", help="which bucket, and what is below which prefix")
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="pages of it upload straight to the bucket, such as https://shop.example; may be given again",
    )


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    from scalekit.errors import ConfigurationError
    from scalekit.storage.urls import storage_from_url

    async def work() -> "list[Finding]":
        async with storage_from_url(arguments.storage, must_exist=True) as storage:
            from scalekit.storage.bucket import examine
            from scalekit.storage.s3 import S3Storage

            if not isinstance(storage, S3Storage):
                raise ConfigurationError(f"{arguments.storage} is no s3:// URL; folders have no settings")
            return await examine(storage, origins=arguments.origin)

    findings = run_until_stopped(work())
    for finding in findings:
        terminal.record({"problem": finding.problem, "cure": finding.cure})
        terminal.problem(finding.problem)
        terminal.say(f"  {finding.cure}")
    terminal.record({"done": True, "findings": len(findings)})
    if not findings:
        terminal.say("nothing is missing")
    return 1 if findings else 0
