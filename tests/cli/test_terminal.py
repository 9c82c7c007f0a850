"""What is shown where: a bar on a terminal, lines in a log, nothing that a terminal would obey."""

import io

import pytest
from rich.console import Console

from scalekit.cli._progress import Bar, Lines
from scalekit.cli._status import status
from scalekit.cli._terminal import Terminal, printable


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_for_a_log() -> None:
    """A line every ten seconds, with speed, and the time that is left as soon as the total is known."""
    clock, output = Clock(), io.StringIO()
    with Lines("sync", Console(file=output, width=200), clock=clock) as lines:
        for seconds, done, total in ((1, 5, None), (9.9, 10, None), (10, 20_000_000, None), (15, 21, None)):
            clock.now = 100 + seconds
            lines.update(done, total, "7 written")
        clock.now = 120
        lines.update(40_000_000, 7_364_000_000, "9 written")
    assert output.getvalue().splitlines() == [
        "sync: 20.0 MB, 2.0 MB/s, 7 written",
        "sync: 40.0 MB of 7.4 GB, 2.0 MB/s, 1:01:02 left, 9 written",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_bar_fits_its_terminal(width: int) -> None:
    """The bar is one line, however wide the terminal, and leaves nothing when it ends."""
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=True, color_system=None)
    with Bar("sync", console) as bar:
        bar.update(123_000_000, 7_400_000_000, "12345 written")
        bar.refresh()
    shown = [line for line in output.getvalue().replace("\r", "\n").splitlines() if "sync" in line]
    assert shown
    for line in shown:
        text = Console(width=1000, color_system=None).render_str(line).plain
        assert len(text.split("\x1b")[0].rstrip()) <= width
    assert output.getvalue().endswith("\x1b[2K")


def test_names_are_shown_harmless() -> None:
    """A file name may hold anything; what a terminal would obey is written out."""
    assert printable("a\x1b]0;title\x07b\n\u202ec ä") == "a\\x1b]0;title\\x07b\\n\\u202ec ä"


def test_programs_get_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json standard output has JSON only; without it has none."""
    for json, expected in ((True, '{"key": "\\u00e4"}\n'), (False, "for people\n")):
        terminal = Terminal(json=json)
        terminal.say("for people")
        terminal.record({"key": "ä"})
        if json:
            terminal.table(["a"], [["b"]])
        assert capsys.readouterr().out == expected


def test_a_table_in_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody looks, a row is a line and a name is whole, whatever its length."""
    monkeypatch.setenv("COLUMNS", "40")
    Terminal().table(["size", "of"], [["1 kB", "x" * 300], ["20 kB", "y\x1b[31m"]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["size   of", f"1 kB   {'x' * 300}", "20 kB  y\\x1b[31m"]


def test_a_table_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the last column that is folded; what is before it, such as an id to be copied, stays whole."""
    output = io.StringIO()
    terminal = Terminal()
    terminal._out = Console(file=output, width=30, force_terminal=True, color_system=None)
    terminal.table(["id", "when", "device"], [["0123456789ab", "3 h ago", "a long name of a device"]])
    lines = [line.split("  ") for line in output.getvalue().splitlines()]
    assert lines[1][:2] == ["0123456789ab", "3 h ago"]
    assert all(len(line) <= 30 for line in output.getvalue().splitlines())
    assert len(lines) > 3


def test_a_status_leaves_standard_output_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed meanwhile goes where it is read, and a name in brackets is shown as it is."""
    output = io.StringIO()
    with status(Console(file=output, width=80, force_terminal=True), redraws=True) as show:
        show("loading [red]shop")
        print("a result")
    assert capsys.readouterr().out == "a result\n"
    assert "loading [red]shop" in output.getvalue()
