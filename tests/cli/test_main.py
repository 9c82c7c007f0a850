"""The command line itself: what it understands, what it imports, and how it ends."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import scalekit as package
from scalekit.cli import main
from scalekit.cli._main import COMMANDS, GROUPS, parser
from tests.cli.command import ROOT, environment, scalekit

GROUPED = [[group, name] for group, (_, commands) in GROUPS.items() for name in commands]
ALL = [*GROUPED, *([name] for name in COMMANDS)]


@pytest.mark.parametrize("arguments", [[], ["storage"], *ALL], ids=" ".join)
def test_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command explains itself, within sixty columns too."""
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: {' '.join(['scalekit', *arguments])}")
    assert max(map(len, text.partition("\n\n")[2].splitlines())) <= 60


def test_help_of_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    """What a group is about begins as a sentence does, and says the rest as it is written."""
    with pytest.raises(SystemExit):
        main(["assets", "--help"])
    assert "\nBuild assets, bring them to a CDN, and take" in capsys.readouterr().out


@pytest.mark.slow
def test_help_imports_no_piece() -> None:
    """`scalekit --help` and a mistake are answered at once: no piece, no third party is imported for them."""
    code = (
        "import sys; from scalekit.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print('imported:', *sys.modules)"
    )
    for arguments in ([], ["--help"], ["storage", "sync", "--help"], ["storage", "sync"]):
        done = subprocess.run(
            [sys.executable, "-S", "-c", code, *arguments],
            capture_output=True, text=True, timeout=60, env=environment(PYTHONPATH=str(ROOT / "src")),
        )  # fmt: skip
        modules = done.stdout.rpartition("imported:")[2].split()
        assert "scalekit.cli.storage_sync" in modules, done.stderr
        ours = {name.split(".")[1] for name in modules if name.startswith("scalekit.")}
        assert ours == {"cli", "errors", "types"}
        assert "asyncio" not in modules
        assert {"rich", "anyio", "msgspec"}.isdisjoint(modules)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version is the package's."""
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"scalekit {package.__version__}\n"


def test_the_entry_point() -> None:
    """The installed `scalekit` is this one."""
    (point,) = importlib.metadata.entry_points(group="console_scripts", name="scalekit")
    assert point.load() is main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "scalekit: the following arguments are required: COMMAND"),
        (["storag"], "invalid choice: 'storag'"),
        (["storage", "sync", "a"], "scalekit storage sync: the following arguments are required: DST"),
        (["storage", "sync", "a", "b", "--del"], "scalekit storage sync: unrecognized arguments: --del"),
        (["storage", "sync", "a", "b", "--concurrency", "0"], "'0' is no whole number of at least 1"),
        (["storage", "sync", "a", "b", "--checksum", "--size-only"], "not allowed with argument"),
    ],
)
def test_what_is_not_understood(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what is wrong and where help is; nothing is guessed, least of all --delete. Status 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    output, errors = capsys.readouterr()
    assert said in errors
    assert errors.count("\n") == 1
    assert "--help shows what there is" in errors
    assert output == ""


def test_a_missing_extra_names_the_pip_line(tmp_path: Path) -> None:
    """Without rich a command says how to install it, in one line; help needs none."""
    code = (
        "import sys; sys.modules['rich'] = None\n"
        "from scalekit.cli import main; sys.exit(main(['storage', 'sync', sys.argv[1], sys.argv[2]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "to")],
        capture_output=True, text=True, timeout=60, env=environment(),
    )  # fmt: skip
    assert done.returncode == 2
    assert "pip install 'scalekit[cli]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_nobody_reads_what_is_printed(tmp_path: Path) -> None:
    """`scalekit ... | head -1` ends without a traceback, as other tools do."""
    for number in range(3000):
        (tmp_path / f"{number:05}-{'x' * 60}").touch()
    script = (
        f"{sys.executable} -m scalekit storage sync --dry-run --json {tmp_path} {tmp_path}-to | head -1; "
        + ("echo ${PIPESTATUS[0]}")
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, env=environment()
    )
    first, status = done.stdout.splitlines()
    assert json.loads(first)["action"] == "created"
    assert status == "141"
    assert done.stderr == ""


def test_every_command_is_a_file_of_its_own() -> None:
    """One command a file, named after it; all of them say in a line what they do."""
    for group, (_, commands) in GROUPS.items():
        for name, module in commands.items():
            assert module.__name__ == f"scalekit.cli.{group}_{name}"
            assert len(module.SUMMARY) < 60
    for name, module in COMMANDS.items():
        assert module.__name__ == f"scalekit.cli.{name}"
        assert len(module.SUMMARY) < 60
    assert parser().prog == "scalekit"


@pytest.mark.slow
def test_status_of_errors(tmp_path: Path) -> None:
    """A wrong set-up is 2, a failure 1; the message goes to standard error, and is no traceback."""
    status, output, errors = scalekit("storage", "sync", str(tmp_path / "none"), str(tmp_path))
    assert (status, output) == (2, "")
    assert errors == f"scalekit: there is no folder {str(tmp_path / 'none')!r}\n"
    (tmp_path / "from").mkdir()
    (tmp_path / "from/a").write_text("x")
    (tmp_path / "to").mkdir()
    os.mkdir(tmp_path / "to/a")
    status, output, errors = scalekit("storage", "sync", str(tmp_path / "from"), str(tmp_path / "to"))
    assert status == 1
    assert output == "1 failed (0 bytes)\n"
    assert errors.startswith("failed    a: cannot store 'a'")
