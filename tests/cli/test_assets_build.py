"""``scalekit assets build``."""

import json
import signal
from pathlib import Path

import pytest

from scalekit.cdn import Assets, Manifest
from tests.cdn.conftest import FILES, write_tree
from tests.cdn.killed_build import state
from tests.cli.command import scalekit, start

TEXT = b"a text that compresses well, for it repeats itself; " * 40


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "src", {**FILES, "long.txt": TEXT})


def test_a_build_and_a_second_one(tmp_path: Path, source: Path) -> None:
    """It says what it wrote; a server takes its URLs from there; a second run writes nothing."""
    out = tmp_path / "out"
    status, output, errors = scalekit("assets", "build", str(source), str(out), "--verbose")
    assert (status, errors) == (0, "")
    assert "written   logo." in output
    assert output.splitlines()[-1].startswith("12 assets: 16 files written (")
    assert output.endswith("0 unchanged, 0 removed; 1 release kept\n")
    assets = Assets.from_manifest(out / "manifest.json", folder=out)
    assert assets.url("logo.png") == Assets(source).url("logo.png")
    status, output, errors = scalekit("assets", "build", str(source), str(out))
    assert output == "12 assets: 0 files written (0 bytes), 16 unchanged, 0 removed; 1 release kept\n"


def test_json(tmp_path: Path, source: Path) -> None:
    """With ``--json`` each file is a line, and the last one is the report."""
    arguments = (
        "--brotli",
        "none",
        "--zstd",
        "none",
        "--gzip",
        "1",
        "--url",
        "/a/",
        "--keep",
        "1",
        "--jobs",
        "1",
    )
    status, output, _ = scalekit("assets", "build", str(source), str(tmp_path / "out"), "--json", *arguments)
    lines = [json.loads(line) for line in output.splitlines()]
    assert status == 0
    assert all(line["action"] == "written" for line in lines[:-1])
    assert lines[-1]["done"]
    assert lines[-1]["written"] == len(lines) - 1 == 13
    assert Manifest.load(tmp_path / "out" / "manifest.json")["long.txt"].encodings == ("gzip",)


def test_what_is_odd_is_told(tmp_path: Path) -> None:
    """A missing source map and a script that is not understood are named, and all is built."""
    source = write_tree(
        tmp_path / "src", {"a.js": b"x\n//# sourceMappingURL=gone.map", "odd.js": b"import './a.js'; ("}
    )
    status, output, errors = scalekit("assets", "build", str(source), str(tmp_path / "out"))
    assert status == 0
    assert "no source map gone.map, which a.js names" in errors
    assert "not understood, and served as it is: odd.js: a bracket without end at byte 17" in errors
    assert output.startswith("2 assets: 2 files written")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere", "out"), "nowhere"),
        (("src", "src/out"), "build into a folder beside it"),
        (
            ("src", "out", "--gzip", "12"),
            "argument --gzip: '12' is no level; write a number from 1 to 9, or none",
        ),
        (("src", "out", "--gzip", "best"), "'best' is no level; write a number from 1 to 9, or none"),
        (("src", "out", "--keep", "0"), "no whole number of at least 1"),
        (("src", "out", "--url", "static"), "begins and ends with"),
    ],
)
def test_mistakes(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    """A wrong folder or option ends with status 2 and says what to change; nothing is written."""
    monkeypatch.chdir(tmp_path)
    status, output, errors = scalekit("assets", "build", *arguments)
    assert (status, output) == (2, "")
    assert words in " ".join(errors.split())
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_stopped(tmp_path: Path, source: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM leave the release that was there, with their exit status; the next run goes on."""
    out = tmp_path / "out"
    assert scalekit("assets", "build", str(source), str(out))[0] == 0
    before = (out / "manifest.json").read_bytes()
    # What is told of them is more than a pipe holds, so that it cannot come to its end before that is read.
    many = {f"many/{'n' * 200}{n:03}.txt": b"%d" % n + TEXT for n in range(300)}
    write_tree(source, many)
    process = start("assets", "build", str(source), str(out), "--json", "--jobs", "1")
    assert process.stdout is not None
    process.stdout.readline()  # the first file is there, and far from the last
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Run it again to go on" in errors
    assert (out / "manifest.json").read_bytes() == before
    assert state(out) == "whole"
    assert scalekit("assets", "build", str(source), str(out), "--brotli", "1", "--zstd", "1")[0] == 0
    assert len(Manifest.load(out / "manifest.json")) == 12 + 300


def test_what_cannot_be_written(tmp_path: Path, source: Path) -> None:
    """A file whose hashed name no disk takes is named with what the system says, and is no traceback."""
    (source / ("n" * 250 + ".png")).write_bytes(b"an image")
    status, output, errors = scalekit("assets", "build", str(source), str(tmp_path / "out"))
    assert (status, output) == (1, "")
    assert "nnn" in errors
    assert "File name too long" in errors
    assert "run it again" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "manifest.json").exists()
