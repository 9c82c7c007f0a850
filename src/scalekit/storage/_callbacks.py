"""The functions that an application gives to take uploads: who is asking, and what becomes of a file.

A mistake that shows in the function itself is told at start-up; one that shows in its answer, with the first.
"""

from collections.abc import Awaitable, Callable
from inspect import isawaitable, iscoroutinefunction
from typing import TypeVar

from scalekit._options import check_function
from scalekit.errors import ConfigurationError
from scalekit.storage._respond import Refused
from scalekit.types import Scope

F = TypeVar("F")


def check_callbacks(*, user: object, **handlers: object) -> None:
    """Refuse what could never be called as it will be. ``None`` is no function at all, which is allowed.

    Raises:
        ConfigurationError: something that cannot be called, or a ``user`` that would have to be awaited.
    """
    for name, handler in handlers.items():
        if handler is not None:
            check_function(handler, option=f"{name}=", wanted="a coroutine function of the file")
    if user is not None:
        check_function(user, option="user=", wanted="a function of the scope")
        if iscoroutinefunction(user):
            raise ConfigurationError("user= must be a plain function, not a coroutine function")


async def hand_over(handler: Callable[[F], Awaitable[None]], file: F, *, option: str) -> None:
    """Call ``handler`` with a file, and wait for it.

    Raises:
        ConfigurationError: there was nothing to wait for.
    """
    outcome = handler(file)
    if not isawaitable(outcome):
        raise ConfigurationError(f"{option} must be a coroutine function; write `async def`")
    await outcome


def who_asks(user: Callable[[Scope], str | None] | None, scope: Scope) -> str | None:
    """Whose request this is; ``None`` where everybody may upload.

    Raises:
        Refused: 403; nobody is logged in.
        ConfigurationError: the answer is no text, such as a number.
    """
    if user is None:
        return None
    name = user(scope)
    if name is None:
        raise Refused(403, "log in before you upload")
    if not isinstance(name, str):
        raise ConfigurationError(
            f"user= answered {type(name).__name__}; return a str, as str(user.id), or None"
        )
    return name
