"""Open a shop on three servers whose control page kills, pauses and promotes what you like.

It is a part of the checkout of scalekit, with the servers that it starts, and not of the package. So this is
"./dev demo" there, which installs what it needs into the checkout's .venv. Ctrl-C closes the shop.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from scalekit.errors import ConfigurationError

if TYPE_CHECKING:
    from scalekit.cli._terminal import Terminal

SUMMARY = "open a shop on three servers, to break things in"

JSON = False
"""It has no results, and runs until it is stopped."""

_ROOT = Path(__file__).absolute().parents[3]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--single", action="store_true", help="one process, with SQLite and no Valkey")
    parser.add_argument("--servers", metavar="N", help="app servers to begin with, 1 to 6 (3)")
    parser.add_argument("--port", metavar="N", help="of the shop (8000 or, if that is taken, any)")
    parser.add_argument("--no-open", action="store_true", help="do not open a browser")


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    script = _ROOT / "dev"
    if not script.is_file() or not (_ROOT / "examples" / "shop" / "__main__.py").is_file():
        raise ConfigurationError(
            "the demo is no part of the package but of the checkout that it was installed from; "
            "there, run ./dev demo"
        )
    given = {"--servers": arguments.servers, "--port": arguments.port}
    options = [f"{option}={value}" for option, value in given.items() if value is not None]
    options += ["--single"] * arguments.single + ["--no-open"] * arguments.no_open
    # In place of this process, so that signals reach the shop, which closes by them.
    os.execv("/bin/sh", ["sh", str(script), "demo", *options])  # noqa: S606
