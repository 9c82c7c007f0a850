"""Objects of the application that a command is about: ``module:store`` and the like.

All commands that load one have the same options for it, ``--factory`` and ``--load-timeout``.
"""

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable, Generator
from typing import Any

from scalekit.cli._in_time import in_time
from scalekit.cli._values import seconds
from scalekit.errors import ConfigurationError

CURE = (
    "What is imported should wait for no server: let it connect at start-up, or when it is first needed. "
    "--load-timeout gives it longer."
)
"""Of an application that is not loaded in time."""


def add_loading(parser: argparse.ArgumentParser, *, target: str, returns: str) -> None:
    """The options that :func:`load_object` and :func:`loading` read.

    Args:
        target: what names the object in the help, such as ``"OBJECT"``.
        returns: what a factory returns, for people, such as ``"the cache"``.
    """
    parser.add_argument(
        "--factory", action="store_true", help=f"{target} is a function that returns {returns}"
    )
    parser.add_argument(
        "--load-timeout",
        type=seconds,
        default=60.0,
        metavar="S",
        help="how long loading it may take, in seconds (60)",
    )


@contextlib.contextmanager
def loading(target: str, arguments: argparse.Namespace) -> Generator[None, None, None]:
    """For a block that loads ``target``: ends the program if that takes longer than ``--load-timeout``."""
    # What the application prints when it is imported is no result.
    with (
        contextlib.redirect_stdout(sys.stderr),
        in_time(arguments.load_timeout, what=f"{target} is not loaded", cure=CURE),
    ):
        yield


def load_object(
    target: str,
    arguments: argparse.Namespace,
    *,
    wanted: str,
    fits: Callable[[Any], bool],
    option: str,
    factories: bool = True,
) -> Any:
    """What ``target`` names in the application, which is imported for it, as servers do.

    Args:
        target: ``module:name``, or ``path/file.py:name``.
        arguments: with the options of :func:`add_loading`.
        wanted: what it has to be, for people, such as ``"cluster"``.
        fits: whether something is one.
        option: what it was given to, for people.
        factories: whether ``--factory`` is about it.

    Raises:
        ConfigurationError: there is no such object, or it does not fit; names those of its module that do.
    """
    from scalekit.ops.doctor.load import kind, load, takes

    factory = factories and arguments.factory
    with loading(target, arguments):
        loaded = load(target, factory=factory)
    if fits(loaded.thing):
        return loaded.thing
    where = target.rpartition(":")[0]
    if others := [f"{where}:{name}" for name, value in vars(loaded.module).items() if fits(value)]:
        cure = f"there is {', '.join(others[:5])}"
    elif factories and not factory and callable(loaded.thing) and takes(loaded.thing, 0):
        cure = "if it returns one, add --factory"
    else:
        cure = f"give {option} one, as module:name"
    raise ConfigurationError(f"{target} is no {wanted} but {kind(loaded.thing)}; {cure}")


def refuse_factory(arguments: argparse.Namespace, *, without: str) -> None:
    """Say of ``--factory`` that there is nothing that it could be about.

    Raises:
        ConfigurationError: it was given.
    """
    if arguments.factory:
        raise ConfigurationError(f"--factory says what {without} names; give that, or leave --factory out")


@contextlib.contextmanager
def quiet() -> Generator[None, None, None]:
    """Without what is logged of servers: it is told as a result, or as what is wrong."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
