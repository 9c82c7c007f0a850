"""Objects of the application that a command is about: ``module:store`` and the like."""

import contextlib
import logging
import sys
from collections.abc import Callable, Generator
from typing import Any

from scalekit.errors import ConfigurationError


def load_object(
    target: str, *, wanted: str, fits: Callable[[Any], bool], option: str, factory: bool = False
) -> Any:
    """What ``target`` names in the application, which is imported for it, as servers do.

    Args:
        target: ``module:name``, or ``path/file.py:name``.
        wanted: what it has to be, for people, such as ``"cluster"``.
        fits: whether something is one.
        option: what it was given to, for people.
        factory: whether it is a function that returns it.

    Raises:
        ConfigurationError: there is no such object, or it does not fit; names those of its module that do.
    """
    from scalekit.ops.doctor.load import kind, load

    # What the application prints when it is imported is no result.
    with contextlib.redirect_stdout(sys.stderr):
        loaded = load(target, factory=factory)
    if fits(loaded.thing):
        return loaded.thing
    where = target.rpartition(":")[0]
    others = [f"{where}:{name}" for name, value in vars(loaded.module).items() if fits(value)]
    cure = f"there is {', '.join(others[:5])}" if others else f"give {option} one, as module:name"
    raise ConfigurationError(f"{target} is no {wanted} but {kind(loaded.thing)}; {cure}")


@contextlib.contextmanager
def quiet() -> Generator[None, None, None]:
    """Without what is logged of servers: it is told as a result, or as what is wrong."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
