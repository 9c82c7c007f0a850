"""Flip a switch for all servers of a fleet, which follow within a second.

"read-only on" refuses what would change something, with 503. "cache-factor 4" has results cached four times
as long, as of when they are stored, and 1 is as ever.

Give --for, so that nobody has to remember to flip it back.
"""

import argparse
from contextlib import closing
from typing import TYPE_CHECKING

from scalekit.cli._redis_url import add_redis
from scalekit.cli._values import duration
from scalekit.cli.switches_show import add_name, show, switches_of
from scalekit.errors import ConfigurationError

if TYPE_CHECKING:
    from scalekit.cli._terminal import Terminal

SUMMARY = "flip one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "switch", choices=["read-only", "cache-factor"], metavar="SWITCH", help="read-only, or cache-factor"
    )
    parser.add_argument("value", metavar="VALUE", help="on or off, or the factor")
    parser.add_argument(
        "--for", dest="lasting", type=duration, metavar="TIME", help="after which it goes back, such as 15m"
    )
    add_redis(parser)
    add_name(parser)


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    value = _value(arguments.switch, arguments.value)
    with closing(switches_of(arguments)) as switches:
        if arguments.switch == "read-only":
            switches.set_read_only(bool(value), lasting=arguments.lasting)
        else:
            switches.set_cache_factor(value, lasting=arguments.lasting)
        show(switches, terminal)
    return 0


def _value(switch: str, text: str) -> float:
    if switch == "read-only":
        if text not in ("on", "off"):
            raise ConfigurationError(f"read-only is on or off, not {text!r:.40}")
        return float(text == "on")
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"cache-factor is a number, such as 4, not {text!r:.40}") from None
