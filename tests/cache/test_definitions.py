"""27. Two cached functions of one name: a clash, or one that takes the other's place."""

import functools
import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend
from scalekit.errors import ConfigurationError


class Notebook:
    """Runs cells, as a notebook and an interactive Python do: each is a module's code of its own."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {
            "__name__": "__main__",
            "cache": Cache(MemoryBackend()),
            "through": _through,
        }

    def run(self, cell: str) -> Any:
        exec(compile(cell, "<cell>", "exec"), self.names)
        return self.names.get("result")


def _through(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


QUERY = "@cache.query(ttl=60)\n"
CELLS = {
    "a function": f"{QUERY}def f() -> int: return NUMBER\nresult = f()",
    "another place": f"# moved\n\n{QUERY}def f() -> int: return NUMBER\nresult = f()",
    "a batch": "@cache.batch(ttl=60)\ndef f(ids: list[int]) -> dict[int, int]: return {1: NUMBER}\n"
    "result = f([1])[1]",
    "a method": f"class A:\n  {QUERY}  def m(self) -> int: return NUMBER\nresult = A().m()",
    "a property": f"class A:\n  @property\n  {QUERY}  def m(self) -> int: return NUMBER\nresult = A().m",
    "a factory": f"def make():\n  n = NUMBER\n  {QUERY}  def f() -> int: return n\n  return f\n"
    "f = make()\nresult = f()",
    "by a call": "def f() -> int: return NUMBER\ng = cache.query(ttl=60)(f)\nresult = g()",
    "another decorator": f"{QUERY}@through\ndef f() -> int: return NUMBER\nresult = f()",
}


@pytest.mark.parametrize("kind", CELLS)
def test_an_edited_cell_takes_the_place(kind: str) -> None:
    """27. In a notebook one defines a function again and again, and runs the last one."""
    notebook, kept = Notebook(), []
    for number in (1, 2, 2, 3):
        # Another line, as in a cell that grows.
        result = notebook.run("\n" * number + CELLS[kind].replace("NUMBER", str(number)))
        assert result in (number, kept[-1]["result"] if kept else number)
        kept.append(dict(notebook.names))  # the former is in use
        notebook.names["cache"].clear_sync()
    assert notebook.run(CELLS[kind].replace("NUMBER", "4")) == 4


def test_a_reloaded_module_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """27. With other code the log says what is served until it ends; with the same it says nothing."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    source = (
        "from scalekit.cache import Cache\nfrom scalekit.cache.memory import MemoryBackend\n"
        "cache = globals().get('cache') or Cache(MemoryBackend())\n{}"
        "@cache.query(ttl=60)\ndef count() -> int: return {}\n"
    )
    path = tmp_path / "reloaded_shop.py"
    path.write_text(source.format("", 1), "utf-8")
    module: Any = importlib.import_module("reloaded_shop")
    former = module.count
    assert former() == 1
    path.write_text(source.format("# moved\n", 1), "utf-8")
    importlib.reload(module)
    assert caplog.messages == []
    path.write_text(source.format("# moved\n" * 2, 2), "utf-8")
    with caplog.at_level(logging.WARNING, logger="scalekit.cache"):
        importlib.reload(module)
    assert "reloaded_shop.count is defined anew" in caplog.text
    assert module.count() == 1
    module.count.invalidate()
    assert module.count() == 2
    monkeypatch.delitem(sys.modules, "reloaded_shop")


CLASHES = {
    "twice in a module": f"{QUERY}def f() -> int: return 1\ng = f\n{QUERY}def f() -> int: return 2",
    "twice by a factory": f"def make(n):\n  {QUERY}  def f() -> int: return n\n  return f\n"
    "a, b = make(1), make(2)",
    "two branches": f"def make(n):\n  if n:\n    {QUERY}    def f() -> int: return 1\n  else:\n"
    f"    {QUERY}    def f() -> int: return 2\n  return f\na = make(0)\nb = make(1)",
    "two classes": f"class A:\n  {QUERY}  def m(self) -> int: return 1\nB = A\n"
    f"class A:\n  {QUERY}  def m(self) -> int: return 2",
    "two decorated": f"{QUERY}@through\ndef f() -> int: return 1\ng = f\n"
    f"{QUERY}@through\ndef f() -> int: return 2",
}


@pytest.mark.parametrize("kind", CLASHES)
def test_two_at_the_same_time_are_a_clash(kind: str) -> None:
    """27. Both may be in use, as two routes are, and would read each other's results."""
    words = r"two cached functions are called __main__.*; give one .* \(<cell>:\d+, <cell>:\d+\)$"
    with pytest.raises(ConfigurationError, match=words):
        Notebook().run(CLASHES[kind])


def test_a_name_that_was_given_twice_is_a_clash() -> None:
    """27. Whenever that is: it is no redefinition."""
    notebook = Notebook()
    notebook.run("@cache.query(ttl=60, name='n')\ndef f() -> int: return 1")
    with pytest.raises(
        ConfigurationError, match=r"two cached functions are called n; .*\(<cell>:1, <cell>:2\)"
    ):
        notebook.run("\n@cache.query(ttl=60, name='n')\ndef g() -> int: return 1")
