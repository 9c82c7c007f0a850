"""Show how the switches of a fleet stand, as its servers see them.

They are flipped with "scalekit switches set". Those that are off are shown as well.
"""

import argparse
import logging
import math
import time
from contextlib import closing
from typing import TYPE_CHECKING

from scalekit.cli._redis_url import PATIENCE, add_redis, redis_url
from scalekit.cli._values import lasting

if TYPE_CHECKING:
    from scalekit.cli._terminal import Terminal
    from scalekit.ops.switches import Switches

SUMMARY = "show how they stand"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_redis(parser)
    add_name(parser)


def add_name(parser: argparse.ArgumentParser) -> None:
    """The option that says which fleet's, if several share a Redis."""
    parser.add_argument(
        "--name",
        default="scalekit:switches",
        help="the name that the application has given its Switches (%(default)s)",
    )


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    with closing(switches_of(arguments)) as switches:
        show(switches, terminal)
        return 1 if switches.unread else 0


def switches_of(arguments: argparse.Namespace) -> "Switches":
    """Those that the options name."""
    from scalekit.ops.switches import Switches

    url = redis_url(arguments)
    return Switches.from_url(url, name=arguments.name, timeout=PATIENCE, connect_timeout=PATIENCE)


def show(switches: "Switches", terminal: "Terminal") -> None:
    """Print them as they stand now, and what is wrong with their keys."""
    from scalekit.ops._switch import spell

    logging.getLogger("scalekit.ops").addHandler(logging.NullHandler())  # it would say the same once more
    found = switches.look()
    now, rows = time.monotonic(), []
    for name, off in (("read-only", "off"), ("cache-factor", "1")):
        switch = found.get(name)
        left = None if switch is None or switch.ends == math.inf else max(0.0, switch.ends - now)
        value: str | None = off if switch is None else spell(name, switch)
        if name in switches.unread:
            value = None
            terminal.problem(
                f"{name}: its key has no value for a switch: {switches.unread[name]}; servers keep what "
                f"they saw last; scalekit switches set {name} {off} mends that"
            )
        terminal.record({"switch": name, "value": value, "seconds_left": left and round(left, 1)})
        rows.append(
            [
                name,
                value or "unknown",
                "" if switch is None else "until flipped" if left is None else lasting(left),
            ]
        )
    terminal.table(["switch", "value", "for"], rows)
