"""Health checks of the pieces, which tell themselves what they depend on."""

import asyncio
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from scalekit._options import check_items
from scalekit.dependencies import Dependency, Dependent
from scalekit.errors import WrongColour
from scalekit.ops.health import Check
from scalekit.types import Colour


def expanded(checks: Iterable[Check | Dependent], colour: Colour) -> list[Check]:
    """Each check as it is, and in the place of a piece the checks of what it depends on.

    A second one of a name gets a number: "cache", "cache 2".

    Raises:
        ConfigurationError: ``checks`` is no list.
    """
    found: list[Any] = []
    for given in check_items(checks, option="checks="):
        if isinstance(given, type) or not isinstance(given, Dependent):
            found.append(given)  # whether it is a check, Health will see
            continue
        for dependency in given.dependencies():
            name = _free(dependency.name, {check.name for check in found if isinstance(check, Check)})
            call = _call(dependency, colour)
            found.append(Check(name, call, required=dependency.required, ttl=dependency.ttl))
    return found


def _call(dependency: Dependency, colour: Colour) -> Callable[[], Any]:
    if colour == "sync":
        return lambda: dependency.ask("sync")

    async def ask() -> (
        object
    ):  # on the loop, and in no thread: a client belongs to the loop that it is used on
        try:
            answer = dependency.ask("async")
        except WrongColour:  # a client for synchronous code, beside an asynchronous application
            return await asyncio.to_thread(dependency.ask, "sync")
        return await answer if inspect.isawaitable(answer) else answer

    return ask


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} {number}"
    return free
