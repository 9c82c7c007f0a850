"""Applications to be looked at, without a module of their own."""

from pathlib import Path
from types import ModuleType
from typing import Any

from scalekit.ops.doctor import Around, Examination, Finding, Loaded, examine


def loaded(app: Any, **globals: Any) -> Loaded:
    """``app`` as if it were in a module ``shop`` with these globals."""
    module = ModuleType("shop")
    vars(module).update(globals)
    return Loaded("shop:app", app, module)


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application with nothing in it."""


def look(app: Any = bare, around: Around | None = None, **globals: Any) -> list[Finding]:
    """What is found, but for the drain that no application here has."""
    return without_drain(examine(loaded(app, **globals), around=around))


def without_drain(found: Examination) -> list[Finding]:
    return [one for one in found.findings if one.code != "drain-missing"]


def codes(findings: list[Finding]) -> list[str]:
    """In the order of the alphabet."""
    return sorted(one.code for one in findings)


def write(folder: Path, text: str, name: str = "shop.py") -> Path:
    """A module in ``folder``."""
    path = folder / name
    path.write_text(text)
    return path
