"""From the command line to a command, and from its end to an exit status."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import NoReturn

import scalekit
from scalekit.cli import (
    assets_build,
    assets_prune,
    assets_purge,
    assets_push,
    cache_invalidate,
    cache_stats,
    db_status,
    demo,
    doctor,
    drain,
    sessions_list,
    sessions_revoke,
    storage_doctor,
    storage_sweep,
    storage_sync,
    switches_set,
    switches_show,
)
from scalekit.cli._stop import Stopped
from scalekit.errors import ConfigurationError, ScalekitError

GROUPS: dict[str, tuple[str, dict[str, ModuleType]]] = {
    "assets": (
        "build assets, bring them to a CDN, and take them away from it",
        {"build": assets_build, "push": assets_push, "prune": assets_prune, "purge": assets_purge},
    ),
    "cache": (
        "see what a cache has, and drop results",
        {"stats": cache_stats, "invalidate": cache_invalidate},
    ),
    "db": ("look at the servers of the database", {"status": db_status}),
    "sessions": (
        "see where a user is logged in, and log them out",
        {"list": sessions_list, "revoke": sessions_revoke},
    ),
    "storage": (
        "move what storages hold, sweep up what uploads leave, and look at settings",
        {"sync": storage_sync, "sweep": storage_sweep, "doctor": storage_doctor},
    ),
    "switches": (
        "flip switches for all servers: read-only mode, and longer cache times",
        {"show": switches_show, "set": switches_set},
    ),
}
"""Each group with what it is about, and its commands."""

COMMANDS: dict[str, ModuleType] = {"demo": demo, "doctor": doctor, "drain": drain}
"""Those that belong to no group."""

_OUTPUT_CLOSED = 128 + signal.SIGPIPE


class _Paragraphs(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        filled = super()._fill_text
        return "\n\n".join(filled(paragraph, width, indent) for paragraph in text.split("\n\n"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help shows what there is\n")


def parser() -> argparse.ArgumentParser:
    """Of all commands."""
    root = _Parser(
        prog="scalekit",
        description="Tools beside the pieces of scalekit.",
        epilog="scalekit COMMAND --help says more of one.",
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"scalekit {scalekit.__version__}")
    groups = root.add_subparsers(metavar="COMMAND", required=True)
    for group, (about, commands) in GROUPS.items():
        sentence = f"{about[0].upper()}{about[1:]}."  # capitalize() would make a cdn of a CDN
        below = groups.add_parser(group, help=about, description=sentence, allow_abbrev=False)
        names = below.add_subparsers(metavar="COMMAND", required=True)
        for name, command in commands.items():
            _add(names, name, command)
    for name, command in COMMANDS.items():
        _add(groups, name, command)
    return root


def _add(names: "argparse._SubParsersAction[_Parser]", name: str, command: ModuleType) -> None:
    described = names.add_parser(
        name,
        help=command.SUMMARY,
        description=command.__doc__,
        formatter_class=_Paragraphs,
        allow_abbrev=False,
    )
    if getattr(command, "JSON", True):
        described.add_argument("--json", action="store_true", help="print a JSON object a line, for programs")
    command.add_arguments(described)
    described.set_defaults(run=command.run, parser=described)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` names. Returns the exit status.

    Args:
        argv: by default the program's arguments; then no thread of the application's, which the command has
            loaded perhaps, keeps the program from ending.
    """
    status = _run(argv)
    if argv is None and any(
        not one.daemon and one is not threading.main_thread() for one in threading.enumerate()
    ):
        with suppress(BrokenPipeError):  # of a command that was stopped, results may not be out yet
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _run(argv: Sequence[str] | None) -> int:
    arguments, unknown = parser().parse_known_args(argv)
    if unknown:  # by the command's own parser, whose help is the one that helps
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        from scalekit.cli._terminal import Terminal

        status: int = arguments.run(arguments, Terminal(json="json" in arguments and arguments.json))
        sys.stdout.flush()  # here and not at the end of the program, where nothing can be said of it
        return status
    except ConfigurationError as error:
        return _failed(error, 2)
    except ScalekitError as error:
        return _failed(error, 1)
    except Stopped as stopped:
        return 128 + stopped.signal
    except KeyboardInterrupt:  # before or after the command was at work
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _OUTPUT_CLOSED


def _failed(error: ScalekitError, status: int) -> int:
    print(f"scalekit: {error}", file=sys.stderr)
    return status
