"""Which Redis a command is about."""

import argparse
import os

from scalekit.errors import ConfigurationError

VARIABLE = "REDIS_URL"

PATIENCE = 5.0
"""Seconds to connect, and for an answer: people have more of it than requests, and may be farther away."""


def add_redis(parser: argparse.ArgumentParser) -> None:
    """The option that says it."""
    parser.add_argument(
        "--redis",
        metavar="URL",
        help=f"the application's Redis, such as redis://host:6379/0; by default ${VARIABLE}, where a "
        "password is not in the list of processes",
    )


def redis_url(arguments: argparse.Namespace, *, instead: str = "") -> str:
    """The URL.

    Args:
        instead: what can be said in place of it.

    Raises:
        ConfigurationError: none was given.
    """
    url = arguments.redis or os.environ.get(VARIABLE)
    if not url:
        other = f", or give {instead}" if instead else ""
        raise ConfigurationError(f"which Redis? Give --redis URL, or set {VARIABLE}{other}")
    return str(url)
