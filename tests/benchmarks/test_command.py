"""``./dev bench``: what it cannot do it says at once, in a line, and what it has measured is not lost."""

from pathlib import Path
from typing import Any, NoReturn

import pytest

from benchmarks import __main__ as bench
from benchmarks import _results, bench_failover, bench_scale
from examples.bigevent import __main__ as bigevent
from tests.servers import ServerFailed, ServerMissing


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the test fails: whatever is wrong is found before."""

    def measured(*given: Any, **more: Any) -> NoReturn:
        pytest.fail("it has begun to measure")

    for module in (bench, bench_scale, bench_failover):
        monkeypatch.setattr(module, "measure", measured)
    monkeypatch.setattr(bigevent, "run", measured)


def refused(capsys: pytest.CaptureFixture[str], *given: str) -> str:
    """The last line of what is said; the exit status is 2."""
    with pytest.raises(SystemExit) as ended:
        bench.main([*given])
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


COMMANDS = (["cdn"], ["scale", "uploads"], ["failover"], ["bigevent"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("place", ["folder", "file/results.json", "x" * 300])
def test_a_file_that_cannot_be_written(
    command: list[str], place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is said before anything is measured, and leaves everything as it was."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("before")
    path = tmp_path / place
    assert f"error: {path} cannot be written: " in refused(capsys, *command, "--json", str(path))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "before"


@pytest.mark.parametrize(
    ("command", "place"),
    [(["bigevent", "--html"], "."), (["scale", "uploads", "--json"], "new.json")],
    ids=["a page", "a plot beside the figures"],
)
def test_whatever_else_it_writes(
    command: list[str], place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not only the figures can be lost."""
    (tmp_path / "scale-uploads.svg").mkdir()
    assert "cannot be written: Is a directory" in refused(capsys, *command, str(tmp_path / place))
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_run_that_fails_changes_no_file(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Older figures stay, no empty file is left where none was, and what is missing is said in a line."""

    def measure(*given: Any, **more: Any) -> NoReturn:
        raise ServerMissing("nginx", cure="apt-get install nginx-light")

    for module in (bench, bench_scale, bench_failover):
        monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(bigevent, "run", measure)
    (tmp_path / "old.json").write_text("before")
    page = ["--html", str(tmp_path / "page.html")] if command == ["bigevent"] else []
    for place in ("old.json", "new/new.json"):
        assert bench.main([*command, *page, "--json", str(tmp_path / place)]) == 1
        assert "to run this: apt-get install nginx-light" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "before"


def test_results_are_written_into_new_folders(tmp_path: Path) -> None:
    """A folder is made when there is something to write."""
    _results.write(tmp_path / "a/b/c.json", "{}\n")
    assert (tmp_path / "a/b/c.json").read_text() == "{}\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["nosuch"], "unknown piece 'nosuch'; choose from redis, sessions, database,"),
        (["cache", "scale"], "unknown piece 'scale'; choose from redis,"),
        (["cache", "scale"], "or, alone, from bigevent, scale, failover"),
        (["--json"], "--json: expected one argument"),
        (["scale", "nosuch"], "unknown series 'nosuch'; choose from processes,"),
        (["scale", "--most", "abc"], "--most: abc is no whole number from 0 to 1,000,000,000"),
        (["failover", "nosuch"], "unrecognized arguments: nosuch"),
        (["failover", "--rounds", "0"], "--rounds: 0 is no whole number from 1 to 1,000"),
        (["failover", "--seconds", "nan"], "--seconds: nan is no number from 0.1 to 3,600"),
        (["failover", "--seconds", "inf"], "--seconds: inf is no number from 0.1 to 3,600"),
        (["bigevent", "--seconds", "abc"], "--seconds: abc is no number from 10 to 86,400"),
        (["bigevent", "--seconds", "0"], "--seconds: 0 is no number from 10 to 86,400"),
        (["bigevent", "--seconds", "-1"], "--seconds: -1 is no number from 10 to 86,400"),
        (["bigevent", "--ablations", "--without", "cdn"], "leave out --without"),
    ],
)
def test_mistakes(given: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each names the value and what would do."""
    assert words in refused(capsys, *given)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command has one, and needs nothing for it."""
    with pytest.raises(SystemExit) as ended:
        bench.main([*command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ./dev bench{' ' * (command[0] in bench.APART)}")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "stopped\n"),
        (ServerFailed("redis: it did not start"), 1, "bench: redis: it did not start\n"),
    ],
)
def test_what_ends_it(
    error: BaseException, status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Ctrl-C, or a server that does not start: no traceback."""

    def measure(*given: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(bench_scale, "measure", measure)
    assert bench.main(["scale", "uploads", "--json", str(tmp_path / "run.json")]) == status
    assert capsys.readouterr().err == said
