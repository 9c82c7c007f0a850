"""Regular expressions on every Python that is supported."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import scalekit


def possessive_groups(parsed: Any) -> Iterator[Any]:
    """What ``*+``, ``++`` or ``?+`` repeats that is more than one character."""
    for code, argument in parsed:
        if code is codes.POSSESSIVE_REPEAT and [item[0] for item in argument[2]] not in (
            [codes.IN],
            [codes.LITERAL],
            [codes.NOT_LITERAL],
            [codes.ANY],
        ):
            yield argument[2]
        todo = [argument]
        while todo:
            inner = todo.pop()
            if isinstance(inner, parser.SubPattern):
                yield from possessive_groups(inner)
            elif isinstance(inner, list | tuple):
                todo += inner


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    for module in pkgutil.walk_packages(scalekit.__path__, "scalekit."):
        if (
            module.name.endswith("__main__") or ".django." in f"{module.name}."
        ):  # which runs, or wants settings
            continue
        try:
            found = importlib.import_module(module.name)
        except ImportError:  # of an extra that another suite has
            continue
        for name, value in vars(found).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", value


def test_no_group_is_repeated_possessively() -> None:
    """Python 3.11.0 to 3.11.4 get those wrong, and a usual server has 3.11.2: atomic groups are right."""
    assert list(possessive_groups(parser.parse(r"x(?:a|bc)*+")))
    assert list(possessive_groups(parser.parse(r"(?>(?:\w(?=(?:ab)++))*)")))
    assert not list(possessive_groups(parser.parse(r"a++[bc]*+.?+(?>(?:a|bc)*)")))
    found = dict(patterns())
    assert len(found) > 20
    assert [
        name for name, pattern in found.items() if list(possessive_groups(parser.parse(pattern.pattern)))
    ] == []
