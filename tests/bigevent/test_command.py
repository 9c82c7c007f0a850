"""``./dev bench bigevent``: its options, and what it writes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as bench
from examples.bigevent import __main__ as command
from examples.bigevent.run import Options, Run
from examples.bigevent.settings import PIECES, Settings
from examples.bigevent.violations import FAIL_OVER, Violation
from tests.bigevent.test_report import a_run
from tests.servers import ServerMissing


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """The options of each run, none of which starts anything."""
    seen: list[Options] = []

    async def run(options: Options, say: object) -> Run:
        seen.append(options)
        return a_run(without=options.without)

    monkeypatch.setattr(command, "run", run)
    return seen


def files(folder: Path) -> list[str]:
    return ["--json", str(folder / "new/run.json"), "--html", str(folder / "run.html")]


def test_it_writes_the_figures_and_the_page(
    ran: list[Options], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By way of `benchmarks`, as `./dev bench bigevent` does, into folders that need not be there yet."""
    given = ["--seconds", "30", "--redis", "cluster", "--wait-replicas", "1", *files(tmp_path)]
    assert bench.main(["bigevent", *given]) == 1, "of its violation"
    assert (ran[0].seconds, ran[0].redis, ran[0].wait_replicas, ran[0].without) == (30.0, "cluster", 1, ())
    written = json.loads((tmp_path / "new/run.json").read_text())
    assert {"requests", "failed", "faults", "violations", "latency_ms"} <= set(written)
    assert "Everything on" in (tmp_path / "run.html").read_text()
    assert "|  | everything on |" in capsys.readouterr().out


def test_ablations_run_without_each_piece(ran: list[Options], tmp_path: Path) -> None:
    """Once with everything on, then once without each; all are in the files."""
    assert command.main(["--ablations", *files(tmp_path)]) == 1
    assert [options.without for options in ran] == [(), *((piece,) for piece in PIECES)]
    assert len(json.loads((tmp_path / "new/run.json").read_text())) == 1 + len(PIECES)


NONE, ONE = (), (Violation("carts", "ann", 1005.0, "a is missing"),)
AT_FAIL_OVER = (Violation(FAIL_OVER, "ann", 1005.0, "carts: a is missing"),)


@pytest.mark.parametrize(
    ("given", "on", "off", "status"),
    [
        ([], NONE, NONE, 0),
        ([], ONE, NONE, 1),
        ([], AT_FAIL_OVER, NONE, 0),
        (["--without", "cache"], NONE, ONE, 0),
        (["--ablations"], NONE, ONE, 0),
        (["--ablations"], ONE, ONE, 1),
    ],
)
def test_a_violation_with_everything_on_is_a_failure(
    given: list[str], on: tuple[Violation, ...], off: tuple[Violation, ...], status: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The exit status is 1, said in a line after everything was written; what a run without a piece loses is
    what it is there to show, and what Redis loses at a fail-over nobody could keep."""

    async def run(options: Options, say: object) -> Run:
        return a_run(without=options.without, violations=off if options.without else on)

    monkeypatch.setattr(command, "run", run)
    assert command.main([*given, *files(tmp_path)]) == status
    output, errors = capsys.readouterr()
    assert "written to " in output
    assert (tmp_path / "new/run.json").exists()
    assert errors == status * "bigevent: with everything on there were violations: carts 1\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--seconds", "5"], "5 is no number from 10 to 86,400"),
        (["--users", "many"], "many is no whole number from 1 to 500"),
        (["--without", "luck"], "luck"),
        (["--wait-replicas", "3"], "3 is no whole number from 0 to 2"),
    ],
)
def test_what_it_cannot_do(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the value and what would do, and runs nothing."""
    with pytest.raises(SystemExit) as ended:
        command.main(given)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ServerMissing("nginx", cure="apt-get install nginx"), 1, "apt-get install nginx"),
        (asyncio.CancelledError(), 130, "everything that was started is gone"),
    ],
)
def test_what_ends_it(
    error: BaseException,
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A missing server says how to get it; one that is stopped says so. No traceback."""

    async def run(options: Options, say: object) -> Any:
        raise error

    monkeypatch.setattr(command, "run", run)
    assert command.main(files(tmp_path)) == status
    assert said in capsys.readouterr().err


def test_settings_travel_in_the_environment() -> None:
    """What a process is told is what it reads."""
    settings = Settings(
        database="a", replicas=("b", "c"), redis="d", s3={"bucket": "e"}, cdn="f", without=("cdn",)
    )
    assert Settings.from_environment(settings.to_environment()) == settings
    assert settings.has("ops")
    assert not settings.has("cdn")
