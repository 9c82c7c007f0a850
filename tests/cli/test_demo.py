"""`scalekit demo`: the checkout's own, or where that is."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from scalekit.cli import demo, main
from tests.cli.command import ROOT


def test_it_is_that_of_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout it is ./dev demo, in place of this process; the shop understands what is passed on."""
    started: list[Any] = []

    def execv(path: str, arguments: list[str]) -> None:
        started.append((path, arguments))
        raise KeyboardInterrupt  # it does not return

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(demo, "_ROOT", ROOT)  # the package may be installed
    options = ["--single", "--no-open", "--servers", "2", "--port", "0"]
    assert main(["demo", *options]) == 130
    ((path, arguments),) = started
    assert (path, arguments[:3]) == ("/bin/sh", ["sh", str(ROOT / "dev"), "demo"])
    pytest.importorskip("h11")
    shop = pytest.importorskip("examples.shop.__main__")
    monkeypatch.setattr(sys, "argv", ["shop", *arguments[3:]])
    understood = shop._arguments()
    assert (understood.single, understood.no_open, understood.servers, understood.port) == (True, True, 2, 0)
    assert main(["demo"]) == 130
    assert started[1][1][3:] == []


def test_without_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Installed it is not there; one line says where it is."""
    monkeypatch.setattr(demo, "_ROOT", tmp_path)
    assert main(["demo"]) == 2
    errors = capsys.readouterr().err
    assert "there, run ./dev demo" in errors
    assert errors.count("\n") == 1
