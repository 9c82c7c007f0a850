"""`scalekit assets push`, `prune` and `purge` as a person and a program meet them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("aiobotocore")

from scalekit.cli import main
from tests.cdn import purge_apis
from tests.cdn.bucket import AssetsS3, read_stand_in, served_apart
from tests.cdn.conftest import FILES, write_tree
from tests.cdn.purge_apis import DISTRIBUTION, SERVICE, TOKEN
from tests.cli.command import environment, start
from tests.servers import S3Server, wait_until


def run(*arguments: str) -> int:
    return main(list(arguments))


KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "FASTLY_"))]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def s3() -> Iterator[AssetsS3]:
    with served_apart() as server:
        yield server


def build(folder: Path) -> Path:
    """As a reader of the documentation does it."""
    write_tree(folder / "static", FILES)
    plain = ["--brotli", "none", "--gzip", "none", "--zstd", "none"]  # which there are depends on extras
    assert run("assets", "build", *plain, "static", "dist") == 0
    return folder / "dist"


def test_for_people(s3: AssetsS3, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A built folder is pushed by one word; a dry run lists, a second run sends nothing."""
    build(tmp_path)
    capsys.readouterr()
    arguments = ["assets", "push", s3.url()]
    assert run(*arguments, "--dry-run") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert sorted({line.split()[0] for line in lines}) == ["created"]
    size = last.partition("(")[2].partition(")")[0]
    assert last == f"would be: {len(FILES)} created ({size}), a new release"
    assert s3.objects == {}
    assert run(*arguments) == 0
    assert capsys.readouterr().out == f"{len(FILES)} created ({size}), a new release\n"
    assert run(*arguments) == 0
    assert capsys.readouterr().out == f"{len(FILES)} unchanged (0 bytes), the release that is there\n"
    site = asyncio.run(read_stand_in(s3))
    assert site is not None
    assert site["logo.png"] == FILES["logo.png"]


def test_other_trees(s3: AssetsS3, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plain folder, though it has a manifest of an installable page; and what Vite has built."""
    write_tree(tmp_path / "static", {"a.png": b"a", "manifest.json": b'{"name": "Shop", "icons": []}'})
    assert run("assets", "push", "--from", "static", s3.url("plain")) == 0
    assert "2 created" in capsys.readouterr().out
    vite = {"src/main.js": {"file": "assets/main-BRBmoGS9.js", "src": "src/main.js", "isEntry": True}}
    write_tree(
        tmp_path / "out", {"assets/main-BRBmoGS9.js": b"//", ".vite/manifest.json": json.dumps(vite).encode()}
    )
    command = ["assets", "push", "--from", "out", "--manifest", "out/.vite/manifest.json", s3.url("vite")]
    assert run(*command) == 0
    assert "vite/assets/main-BRBmoGS9.js" in s3.objects


def test_for_programs(s3: AssetsS3, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json each line is an object, the last one is the sum."""
    build(tmp_path)
    capsys.readouterr()
    assert run("assets", "push", "--json", s3.url()) == 0
    *files, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert {file["action"] for file in files} == {"created"}
    assert last == {
        "done": True, "dry_run": False, "created": len(FILES), "replaced": 0, "unchanged": 0,
        "bytes_written": sum(file["size"] for file in files), "is_new": True,
    }  # fmt: skip


def test_prune(s3: AssetsS3, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What old releases had alone is listed, and then removed; the current one stays."""
    for name in ("one", "two"):
        write_tree(tmp_path / name, {"a.png": name.encode()})
        assert run("assets", "push", "--from", name, s3.url()) == 0
        s3.later(days=10)
    capsys.readouterr()
    assert run("assets", "prune", "--keep", "1", "--dry-run", s3.url()) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["would", "would"]
    assert last == "1 file would be removed (3 bytes), 1 release kept"
    assert run("assets", "prune", "--keep", "1", "--json", s3.url()) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == {"done": True, "dry_run": False, "removed": 1, "bytes": 3, "kept_releases": 1}
    assert run("assets", "prune", s3.url()) == 0
    assert capsys.readouterr().out == "0 files removed (0 bytes), 1 release kept\n"
    assert run("assets", "prune", "--older-than", "5m", s3.url()) == 2
    assert "--older-than 5m; give an hour at least" in capsys.readouterr().err
    assert run("assets", "prune", s3.url("sttic")) == 0
    assert "nothing has been pushed to s3://shop-assets/sttic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prefix", "url", "told"),
    [
        ("static", "/static/", False),
        ("shop/static", "/static/", False),
        ("shop", "/", False),
        ("assets", "/static/", True),
        ("", "/static/", True),
        ("mystatic", "/static/", True),
    ],
)
def test_a_prefix_that_is_not_the_path(
    s3: AssetsS3, tmp_path: Path, capsys: pytest.CaptureFixture[str], prefix: str, url: str, told: bool
) -> None:
    """Where the CDN would look for the files in vain is said, with the destination that fits."""
    write_tree(tmp_path / "static", {"a.png": b"a"})
    assert run("assets", "push", "--from", "static", "--url", url, s3.url(prefix)) == 0
    errors = capsys.readouterr().err
    assert ("push to s3://shop-assets/static" in errors) is told, errors


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped(s3: AssetsS3, tmp_path: Path, number: int, status: int) -> None:
    """Ctrl-C and SIGTERM end it without a traceback and without harm, and the next run goes on."""
    dist = build(tmp_path)
    first = write_tree(tmp_path / "first", {"logo.png": b"the old one"})
    process = start("assets", "push", "--from", str(first), s3.url(), **KEYS)
    assert process.wait(60) == 0
    process.communicate()

    pushing: list[subprocess.Popen[str]] = []

    def stop(method: str, key: str) -> None:
        if method == "PUT" and "css/site" in key:
            wait_until(lambda: pushing, what="the process, which may ask before its start is over here")
            pushing[0].send_signal(number)

    s3.before = stop
    process = start("assets", "push", "--concurrency", "1", "--from", str(dist), s3.url(), **KEYS)
    pushing.append(process)
    output, errors = process.communicate(timeout=60)
    s3.before = lambda method, key: None
    assert (process.returncode, output) == (status, "")
    assert errors == "stopped; the site is whole, the old one or the new one. Run it again to go on\n"
    assert asyncio.run(read_stand_in(s3)) == {"logo.png": b"the old one"}
    process = start("assets", "push", "--from", str(dist), s3.url(), **KEYS)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "unchanged" in output
    site = asyncio.run(read_stand_in(s3))
    assert site is not None
    assert site["logo.png"] == FILES["logo.png"]


def test_what_is_wrong(s3: AssetsS3, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No such folder or bucket, no right, no server: one line with the cure, status 2 or 1, no secret."""
    assert run("assets", "push", "--from", "nowhere", s3.url()) == 2
    assert "asset folder 'nowhere' cannot be read" in capsys.readouterr().err
    build(tmp_path)
    for url, status, said in [
        (s3.url().replace("shop-assets", "none"), 1, "make the bucket, or correct its name"),
        ("s3://shop-assets?endpoint_url=http://127.0.0.1:9", 1, "is the endpoint right"),
        ("shop-assets/static", 2, "write s3://bucket or s3://bucket/prefix"),
    ]:
        assert run("assets", "push", url) == status
        errors = capsys.readouterr().err
        assert said in errors
        assert errors.count("\n") == 1
        assert "hunter2" not in errors
    s3.refused["PUT"] = 403, "AccessDenied"
    assert run("assets", "push", s3.url()) == 1
    assert "these credentials need s3:PutObject for what is below the prefix" in capsys.readouterr().err


def test_wrong_credentials(
    strict_s3_server: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real server that does not know the key, or to which the secret does not belong."""
    build(tmp_path)
    where = f"s3://any/static?endpoint_url={strict_s3_server.endpoint_url}"
    assert run("assets", "push", where) == 1
    assert "the secret is not the one of this access key" in capsys.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "stranger")
        assert run("assets", "push", where) == 1
    assert "these credentials are not of this server" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["push", "prune"])
def test_a_missing_extra(command: str, tmp_path: Path) -> None:
    """Without an S3 client the command says how to install it, in one line."""
    write_tree(tmp_path / "dist", {"a.png": b"a"})
    code = (
        "import sys; sys.modules['aiobotocore'] = None\n"
        f"from scalekit.cli import main; sys.exit(main(['assets', {command!r}, 's3://bucket/static']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "pip install 'scalekit[s3]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_purge_fastly(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs and tags go in one command; the token comes from the environment, and is never shown."""
    with purge_apis.Fastly() as api:
        monkeypatch.setenv("FASTLY_API_ENDPOINT", api.url)
        command = ["assets", "purge", "--fastly", SERVICE]
        assert run(*command, "https://shop.example/a") == 2
        assert "set FASTLY_API_TOKEN" in capsys.readouterr().err
        monkeypatch.setenv("FASTLY_API_TOKEN", TOKEN)
        assert run(*command, "--soft", "--tag", "product-1", "--tag", "home", "https://shop.example/a") == 0
        assert capsys.readouterr().out.splitlines()[-1] == "purged 1 URLs, 2 tags by 2 requests"
        assert run(*command, "--everything", "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"done": True, "requests": 1, "ids": []}
        assert api.purged == [
            ("url", "shop.example/a"), ("key", "product-1"), ("key", "home"), ("all", SERVICE),
        ]  # fmt: skip
        monkeypatch.setenv("FASTLY_API_TOKEN", "another-" + TOKEN)
        assert run(*command, "--tag", "a") == 1
        errors = capsys.readouterr().err
        assert "is the token right?" in errors
        assert TOKEN not in errors


def test_purge_cloudfront(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths, and what is to be waited for; what the other CDN has only is refused."""
    with purge_apis.CloudFront() as api:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFRONT", api.url)
        command = ["assets", "purge", "--cloudfront", DISTRIBUTION]
        assert run(*command, "/news", "/img/*", "--wait", "1m") == 0
        assert capsys.readouterr().out == "I1\npurged 2 URLs, 0 tags by 1 requests\n"
        assert list(api.invalidations.values()) == [["/news", "/img/*"]]
        for wrong, said in (
            (["--soft", "/a"], "no soft purge"), ([], "nothing to purge"), (["news"], "write it as '/news'"),
            (["--everything", "/a"], "leaves nothing to name"),
        ):  # fmt: skip
            assert run(*command, *wrong) == 2
            assert said in capsys.readouterr().err
        assert run("assets", "purge", "--cloudfront", "EOTHER", "/a") == 1
        assert "is the distribution's ID right" in capsys.readouterr().err
