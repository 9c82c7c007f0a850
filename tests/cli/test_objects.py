"""What the commands have in common that load an object of the application."""

from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from scalekit.cli import main
from tests.cli.command import start

SHOP = """
def fails():
    raise LookupError("no settings")

def takes(one): ...

def nothing() -> None: ...

word = "shop"
"""

COMMANDS = [
    ["doctor", "{}"],
    ["db", "status", "{}"],
    ["cache", "stats", "--cache", "{}"],
    ["cache", "invalidate", "products", "--cache", "{}"],
    ["cache", "invalidate", "--everything", "--cache", "{}"],
    ["sessions", "list", "ann", "--store", "{}"],
    ["sessions", "revoke", "ann", "--all", "--store", "{}"],
]
each_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))


def about(command: list[str], target: str) -> list[str]:
    return [part.format(target) for part in command]


@each_command
def test_a_factory(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each takes a function that returns the object, and says in a line what is wrong with one."""
    (tmp_path / "objects_shop.py").write_text(SHOP)
    for name, words in (
        ("fails", "failed: LookupError: no settings (in "),
        ("takes", "cannot be called without arguments, as factories are"),
        ("nothing", "returned None; is there a return missing?"),
        ("word", "is no factory but a str; leave --factory out if it is what is meant"),
    ):
        assert main([*about(command, f"{tmp_path}/objects_shop.py:{name}"), "--factory"]) == 2
        errors = capsys.readouterr().err
        assert words in errors
        assert errors.count("\n") == 1


@each_command
def test_a_factory_that_is_taken_for_the_object(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing else would do, that is the cure."""
    (tmp_path / "objects_made.py").write_text("def made() -> None: ...\n")
    assert main(about(command, f"{tmp_path}/objects_made.py:made")) == 2
    assert "add --factory" in capsys.readouterr().err.lower()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cache", "stats"], "--factory says what --cache names; give that, or leave --factory out"),
        (["cache", "invalidate", "--call", "a:b()"], "--factory says what --cache names"),
        (["sessions", "list", "ann"], "--factory says what --store names; give that, or leave --factory out"),
    ],
)
def test_a_factory_of_nothing(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What it would be about is not there: that is no option to pass over."""
    assert main([*arguments, "--factory"]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_an_import_that_never_ends(tmp_path: Path) -> None:
    """Each ends, with a status of its own, and says where the application is."""
    (tmp_path / "objects_hang.py").write_text("import threading\nthreading.Event().wait()\n")
    target = f"{tmp_path}/objects_hang.py:thing"
    calls = [about(command, target) for command in COMMANDS]
    calls.append(["cache", "invalidate", "--call", f"{target}()"])
    # All at once, and with time enough for each to get as far as that.
    started = [start(*call, "--load-timeout", "5") for call in calls]
    try:
        for process in started:
            output, errors = process.communicate(timeout=120)
            assert (process.returncode, output) == (3, "")
            assert f"scalekit: {target} is not loaded after 5 s; it is at" in errors
            assert "objects_hang.py, line 2, in <module>" in errors
            assert "--load-timeout gives it longer" in errors
    finally:
        for process in started:
            process.kill()
            process.wait()
