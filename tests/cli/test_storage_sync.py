"""`scalekit storage sync` as a person, a log and a program meet it."""

import json
import signal
from pathlib import Path

import pytest

from tests.cli.command import scalekit, start
from tests.servers import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """One with three files, and one that is not there yet."""
    source = tmp_path / "from"
    (source / "b").mkdir(parents=True)
    (source / "a.txt").write_bytes(b"a" * 1500)
    (source / "b/c.txt").write_bytes(b"c" * 2500)
    (source / "b/\x1b[31mred").write_text("its name would colour the terminal")
    return source, tmp_path / "to"


def test_for_people(folders: tuple[Path, Path]) -> None:
    """25. One line of result; problems apart, and harmless to the terminal. What is missing makes it 1."""
    source, destination = folders
    status, output, errors = scalekit("storage", "sync", str(source), str(destination))
    assert (status, output) == (1, "2 created, 1 skipped (4.0 kB)\n")
    assert errors == "skipped   b/\\x1b[31mred: contains U+001B, a control or invisible character\n"
    assert (destination / "b/c.txt").read_bytes() == b"c" * 2500
    (source / "b/\x1b[31mred").unlink()
    status, output, errors = scalekit("storage", "sync", str(source), str(destination))
    assert (status, output, errors) == (0, "2 unchanged (0 bytes)\n", "")


def test_verbose_and_dry_run(folders: tuple[Path, Path]) -> None:
    """25. What becomes of each object is listed on request, and what would always is."""
    source, destination = folders
    destination.mkdir()
    (destination / "extra").touch()
    expected = "created   a.txt\ncreated   b/c.txt\ndeleted   extra\n"
    _, output, _ = scalekit(
        "storage", "sync", "--concurrency", "1", "--dry-run", "--delete", str(source), str(destination)
    )
    assert output == expected + "would be: 2 created, 1 deleted, 1 skipped (4.0 kB)\n"
    assert [path.name for path in destination.iterdir()] == ["extra"]
    _, output, _ = scalekit(
        "storage", "sync", "--concurrency", "1", "-v", "--delete", str(source), str(destination)
    )
    assert output == expected + "2 created, 1 deleted, 1 skipped (4.0 kB)\n"
    assert not (destination / "extra").exists()


def test_for_programs(folders: tuple[Path, Path]) -> None:
    """25. With --json each line of standard output is an object; the last one is the sum."""
    source, destination = folders
    _, output, _ = scalekit("storage", "sync", "--json", str(source), f"file://{destination}")
    *changes, last = [json.loads(line) for line in output.splitlines()]
    assert {"key": "a.txt", "action": "created", "size": 1500} in changes
    assert last == {
        "done": True, "dry_run": False, "created": 2, "replaced": 0, "unchanged": 0, "deleted": 0,
        "failed": 0, "skipped": 1, "bytes_written": 4000,
    }  # fmt: skip


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped(tmp_path: Path, number: int, status: int) -> None:
    """25. Ctrl-C and SIGTERM end it without a traceback and without harm, and the next run goes on."""
    source, destination = tmp_path / "from", tmp_path / "to"
    source.mkdir()
    # Their names alone are more than a pipe holds, so that it cannot come to its end before they are read.
    names = [f"{number:03}{'x' * 190}" for number in range(600)]
    for name in names:
        (source / name).write_bytes(b"x" * 20_000)
    process = start("storage", "sync", "--verbose", "--concurrency", "1", str(source), str(destination))
    try:
        wait_until(lambda: (destination / names[3]).exists(), what="it has begun")
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == status
    assert {line.split()[0] for line in output.splitlines()} == {"created"}
    assert errors.endswith("stopped; what was written stays. Run it again to go on\n")
    assert "Traceback" not in errors
    files = list(destination.iterdir())
    assert 4 <= len(files) < 600
    assert {path.stat().st_size for path in files} == {20_000}, "no half file, no temporary file"
    status, output, _ = scalekit("storage", "sync", str(source), str(destination))
    assert status == 0
    assert f"{600 - len(files)} created, {len(files)} unchanged" in output


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """25. One line says what cannot be reached; credentials are not in it."""
    (tmp_path / "a").touch()
    status, output, errors = scalekit(
        "storage", "sync", str(tmp_path), "s3://media?endpoint_url=http://127.0.0.1:9",
        AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="hunter2", AWS_DEFAULT_REGION="us-east-1",
    )  # fmt: skip
    assert (status, output) == (1, "")
    assert errors.startswith("scalekit: S3 cannot be reached to list the objects")
    assert errors.count("\n") == 1
    assert "hunter2" not in errors
