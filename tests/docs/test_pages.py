"""Every code block of README.md and docs/ runs."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT, blocks, pages, python_blocks

pytestmark = pytest.mark.slow

WITH_PYTHON = [page for page in pages() if python_blocks(page)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def redis(fixture: Callable[[str], Any]) -> dict[str, str]:
    return {"REDIS_URL": fixture("redis_url")}


def memcached(fixture: Callable[[str], Any]) -> dict[str, str]:
    return {"MEMCACHED_URL": fixture("memcached_server").url}


def database(fixture: Callable[[str], Any]) -> dict[str, str]:
    database = fixture("database")
    return {
        "DATABASE_URL": database.primary_url("asyncpg"),
        "REPLICA_URLS": " ".join(database.replica_urls("asyncpg")),
    }


def s3(fixture: Callable[[str], Any]) -> dict[str, str]:
    client = fixture("s3_server").client_kwargs
    return {
        "S3_BUCKET": fixture("bucket"),
        "S3_ENDPOINT_URL": client["endpoint_url"],
        "AWS_ENDPOINT_URL": client["endpoint_url"],
        "AWS_DEFAULT_REGION": client["region_name"],
        "AWS_ACCESS_KEY_ID": client["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": client["aws_secret_access_key"],
    }


SERVERS = {
    "REDIS_URL": redis,
    "MEMCACHED_URL": memcached,
    "DATABASE_URL": database,
    "REPLICA_URLS": database,
    "S3_": s3,
    "AWS_": s3,
}


@pytest.mark.timeout(300)  # the first also starts the servers
@pytest.mark.parametrize("page", WITH_PYTHON, ids=name)
def test_the_python_blocks_run(page: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A reader who types a page in, from top to bottom, meets no error."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    given = [str(Path(entry).resolve()) for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry]
    env |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *given]),
        "SECRET": "a secret of the tests, long enough",
    }
    text = page.read_text("utf-8")
    for provide in {provide for mention, provide in SERVERS.items() if mention in text}:
        env |= provide(request.getfixturevalue)
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "dev",
            "-W",
            "error::DeprecationWarning:page",
            "-m",
            "tests.docs.run_page",
            str(page),
        ],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{name(page)} fails:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_few_blocks_do_not_run() -> None:
    """What does not run is the exception, and says why."""
    every = [(page, block) for page in pages() for block in python_blocks(page)]
    left_out = [f"{name(page)}:{block.line}: {block.not_run}" for page, block in every if block.not_run]
    assert len(left_out) <= len(every) // 10, "\n".join(left_out)


def commands(page: Path) -> list[tuple[int, str]]:
    found = []
    for block in blocks(page):
        if block.language in ("sh", "bash", "console") and block.not_run is None:
            for number, line in enumerate(block.code.replace("\\\n", " ").splitlines(), block.line + 1):
                command = line.removeprefix("$ ").partition(" #")[0].strip()
                if (
                    command
                    and not command.startswith("#")
                    and (block.language != "console" or line[:2] == "$ ")
                ):
                    found.append((number, command))
    return found


@pytest.mark.parametrize("page", [page for page in pages() if commands(page)], ids=name)
def test_the_shell_commands_exist(page: Path) -> None:
    """Commands in shell blocks name programs, subcommands, extras and modules that exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for line, command in commands(page):
        where = f"{name(page)}:{line}: {command}"
        words = [word for word in command.split() if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        if not words:
            continue
        if words[0] == "./dev":
            assert re.search(rf"^    {words[1]}\)", (ROOT / "dev").read_text("utf-8"), re.MULTILINE), where
        elif words[0] == "scalekit":
            assert "scalekit" in project.get("scripts", {}), where
        elif words[:2] == ["pip", "install"]:
            for extras in re.findall(r"scalekit\[([^\]]+)\]", command):
                assert set(extras.split(",")) <= set(project["optional-dependencies"]), where
        elif words[:2] == ["python", "-m"] and words[2].startswith("examples"):
            path = ROOT / words[2].replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), where
        else:
            known = {"cd", "git", "curl", "export", "kill", "python", "uvicorn", "gunicorn", "docker"}
            assert words[0] in known or shutil.which(words[0]), where
