"""Finding what an application is made of, and loading it."""

import functools
from pathlib import Path
from typing import Any

import flask
import pytest
from flask import Flask

from scalekit.errors import ConfigurationError
from scalekit.ops.doctor import examine, load
from scalekit.ops.doctor.walk import is_a, walk
from scalekit.sessions.memory import MemoryStore
from tests.ops.doctor.apps import bare, codes, loaded, without_drain, write

STORE = "scalekit.sessions.memory.MemoryStore"


def stores(*roots: object) -> list[str]:
    return [way for way, thing in walk([("root", root) for root in roots]) if is_a(thing, STORE)]


class Slotted:
    __slots__ = ("store",)

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    def method(self) -> None: ...


class Hostile:
    """What must not be run."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    @property
    def broken(self) -> Any:
        raise AssertionError("a property was read")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was looked up")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    def __hash__(self) -> int:
        raise AssertionError("hashed")


def test_ways_to_an_object() -> None:
    """By attributes, slots, items, closures, defaults, partials and bound methods; each object once."""
    store = MemoryStore()

    def closing() -> object:
        return store

    def defaulting(given: object = store) -> object:
        return given

    ways: list[object] = [
        [{"a": (store,)}],
        Slotted(store),
        Slotted(store).method,
        Hostile(store),
        closing,
        defaulting,
        functools.partial(print, store),
        functools.partial(print, key=store),
    ]
    for way in ways:
        assert len(stores(way)) == 1, way
    assert len(stores(*ways)) == 1
    circle: list[object] = []
    circle.append(circle)
    assert stores(circle) == []


def test_proxies_are_asked_nothing() -> None:
    """flask.session and its like answer everything with an error outside of a request."""
    assert stores(flask.session, flask.request, flask.g) == []
    assert (
        codes(without_drain(examine(loaded(Flask("shop", static_folder=None), session=flask.session)))) == []
    )


PACKAGE = {
    "__init__.py": "",
    "db.py": """
from scalekit.sessions.memory import MemoryStore
store, unused = MemoryStore(), MemoryStore()
""",
    "views.py": """
from . import db
from .db import store

async def view():
    return [one for one in [store]]
""",
    "main.py": """
from fastapi import FastAPI
from . import views
app = FastAPI()
app.get("/")(views.view)
""",
}


@pytest.mark.parametrize("target", ["walked_shop.main:app", "walked_shop/main.py:app"])
def test_what_routes_use_in_other_modules(target: str, tmp_path: Path) -> None:
    """The globals that a route's function names are looked at, wherever it is; what nobody uses is not."""
    (tmp_path / "walked_shop").mkdir()
    for name, text in PACKAGE.items():
        write(tmp_path / "walked_shop", text, name)
    (found,) = without_drain(examine(load(target, folder=tmp_path)))
    assert found.code == "process-sessions"
    assert found.where == f"{target}, walked_shop.views.store"


def test_what_is_named_besides(tmp_path: Path) -> None:
    """--also looks at an object that the application does not lead to."""
    write(
        tmp_path, "from scalekit.sessions.memory import MemoryStore\nkept = [MemoryStore()]\n", "besides.py"
    )
    also = load("besides:kept", folder=tmp_path)
    assert codes(without_drain(examine(loaded(bare)))) == []
    (found,) = without_drain(examine(loaded(bare), also=[also]))
    assert found.code == "process-sessions"


def test_a_middleware_that_cannot_be_made() -> None:
    """What a first request would raise is told, without passwords."""
    from fastapi import FastAPI

    def breaks(app: Any) -> Any:
        raise RuntimeError("no redis://:hush@h/0")

    app = FastAPI()
    app.add_middleware(breaks)
    with pytest.raises(
        ConfigurationError, match=r"shop:app cannot be built: RuntimeError: no redis://\*\*\*@h/0"
    ):
        examine(loaded(app))
