"""``./dev``: what it says of itself, and what it does not install for it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose tools only write down how they were called, into ``called``; ``apt-get`` too."""
    programs = [tmp_path / ".venv/bin" / name for name in ("python", "uv", "tox")]
    for program in [*programs, tmp_path / "apt/apt-get"]:
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text('#!/bin/sh\n[ "$1" = -c ] || echo "${0##*/} $*" >>"$CALLED"\n')
        program.chmod(0o755)
    shutil.copy(ROOT / "dev", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def dev(checkout: Path, *arguments: str) -> tuple[int, str, str, list[str]]:
    """The status, what was said, and what was called but for the installation of Python packages."""
    called = checkout / "called"
    called.write_text("")
    ran = subprocess.run(
        [checkout / "dev", *arguments],
        capture_output=True,
        text=True,
        cwd=checkout.parent,
        env=os.environ | {"CALLED": str(called), "PATH": f"{checkout / 'apt'}:{os.environ['PATH']}"},
    )
    calls = [
        line for line in called.read_text().splitlines() if not line.startswith("uv pip install -q --py")
    ]
    return ran.returncode, ran.stdout, ran.stderr, calls


@pytest.mark.parametrize(
    "arguments",
    [("test", "--help"), ("test", "list"), ("test", "-e", "lint,types"), ("test", "run", "-h")],
    ids=" ".join,
)
def test_who_asks_installs_no_server(checkout: Path, arguments: tuple[str, ...]) -> None:
    """Help, a list and what reads the code alone start at once: tox is all that is called."""
    status, _, _, calls = dev(checkout, *arguments)
    assert (status, calls) == (0, [f"tox {' '.join(arguments[1:])}"])


def test_the_help_of_the_benchmarks_installs_no_server(checkout: Path) -> None:
    """Neither do they."""
    assert dev(checkout, "bench", "scale", "--help")[3] == ["python -m benchmarks scale --help"]


def test_its_own_help(checkout: Path) -> None:
    """From any folder, 0 for who has asked for it; 2 where there is no such command, which is named."""
    status, said, _, calls = dev(checkout, "--help")
    assert (status, calls) == (0, [])
    assert said.startswith("./dev demo")
    status, said, complaint, _ = dev(checkout, "tset")
    assert (status, said) == (2, "")
    assert "there is no command 'tset'" in complaint
    assert "./dev test" in complaint
    assert "\033" not in complaint  # it is no terminal
    assert dev(checkout)[0] == 2
