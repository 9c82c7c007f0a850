"""`scalekit storage sweep` as a person and a program meet it."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from scalekit.cli import main
from tests.cli.command import start
from tests.servers import S3Server


@pytest.fixture
def litter(tmp_path: Path) -> Path:
    """A folder with an object, a draft of two days ago and one of now."""
    (tmp_path / "photos").mkdir()
    for name in ("a.png", ".scalekit-0123456789abcdef.tmp", ".scalekit-fedcba9876543210.tmp"):
        (tmp_path / "photos" / name).write_bytes(b"x" * 1500)
    two_days_ago = time.time() - 2 * 86400
    for name in ("a.png", ".scalekit-0123456789abcdef.tmp"):
        os.utime(tmp_path / "photos" / name, (two_days_ago, two_days_ago))
    return tmp_path


def test_for_people(litter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """7. What is old is listed and removed, with a dry run first; twice is once."""
    for arguments, word in ((["--dry-run"], "would be removed"), ([], "removed"), ([], None)):
        assert main(["storage", "sweep", str(litter), *arguments]) == 0
        lines = capsys.readouterr().out.splitlines()
        if word is None:
            assert lines == ["0 removed (0 bytes)"]
            continue
        heading, row, last = lines
        assert heading.split() == ["last", "grown", "size", "what", "of"]
        assert "1.5 kB" in row
        assert "temporary file" in row
        assert ".scalekit-0123456789abcdef.tmp" in row
        assert last == f"1 {word} (1.5 kB)"
    assert sorted(path.name for path in (litter / "photos").iterdir()) == [
        ".scalekit-fedcba9876543210.tmp", "a.png",
    ]  # fmt: skip


def test_for_programs(litter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """7. With --json each leftover is a line, and the last one is the sum."""
    assert main(["storage", "sweep", "--json", "--older-than", "7d", str(litter)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "done": True, "dry_run": False, "removed": 0, "failed": 0, "bytes": 0,
    }  # fmt: skip
    assert main(["storage", "sweep", "--json", "--older-than", "47h", str(litter)]) == 0
    leftover, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (leftover["kind"], leftover["size"]) == ("temporary file", 1500)
    assert leftover["name"] == "photos/.scalekit-0123456789abcdef.tmp"
    assert last["removed"] == 1


@pytest.mark.parametrize("age", ["24", "1 day", "-1h", "0x1h", ""])
def test_an_age_that_is_none(age: str, capsys: pytest.CaptureFixture[str]) -> None:
    """7. A number without a unit could be meant otherwise; it is refused."""
    with pytest.raises(SystemExit) as ended:
        main(["storage", "sweep", "/tmp", f"--older-than={age}"])
    assert ended.value.code == 2
    assert "is no duration; write it as 30m, 24h or 7d" in capsys.readouterr().err


def test_an_age_that_is_too_young(litter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """7. Below an hour it would remove uploads that are under way: status 2, and nothing is removed."""
    assert main(["storage", "sweep", str(litter), "--older-than", "59m"]) == 2
    assert "--older-than 59m; give an hour at least" in capsys.readouterr().err
    assert len(list((litter / "photos").iterdir())) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped(litter: Path, number: int, status: int) -> None:
    """8. A signal ends it between two removals: no object is touched, and the next run goes on."""
    folder = litter / "photos"
    two_days_ago = time.time() - 2 * 86400
    # What is told of them is more than a pipe holds, so that it cannot end before it is read.
    for count in range(2000):
        draft = folder / f".scalekit-{count:016x}.tmp"
        draft.touch()
        os.utime(draft, (two_days_ago, two_days_ago))
    before = len(list(folder.iterdir()))
    with start("storage", "sweep", str(litter), "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(number)
        output, errors = first + process.stdout.read(), process.stderr.read()
    removed = [json.loads(line) for line in output.splitlines()]
    assert process.returncode == status
    assert errors.endswith("stopped; what was removed is gone. Run it again to go on\n")
    assert "Traceback" not in errors
    gone = before - len(list(folder.iterdir()))
    assert len(removed) <= gone <= len(removed) + 1, "one may be under way"
    assert gone < 1900
    assert not any((litter / str(leftover["name"])).exists() for leftover in removed)
    assert main(["storage", "sweep", str(litter)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [".scalekit-fedcba9876543210.tmp", "a.png"]


def test_a_bucket(s3_server: S3Server, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    """7. A bucket is swept as well; one that is not there is told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", s3_server.client_kwargs["aws_access_key_id"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.client_kwargs["aws_secret_access_key"])
        where = f"?endpoint_url={s3_server.endpoint_url}&region_name=us-east-1"
        assert main(["storage", "sweep", f"s3://{bucket}/photos{where}"]) == 0
        assert capsys.readouterr().out == "0 removed (0 bytes)\n"
        assert main(["storage", "sweep", f"s3://absent-{bucket}{where}"]) == 1
        assert "make the bucket, or correct its name" in capsys.readouterr().err
