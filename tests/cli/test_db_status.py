"""`scalekit db status` as a person and a script meet it, on real servers."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("asyncpg")
pytest.importorskip("psycopg")

from scalekit.cli import main
from tests.cli.command import start
from tests.faults import pause_replay
from tests.servers import wait_until

SHOP = """
from scalekit.database import AsyncCluster, Cluster

print("the application prints this")
urls = {urls!r}
patience = {{"connect_timeout": 30, "probe_timeout": 30}}
cluster = AsyncCluster(urls[0], replicas=urls[1:], **patience)
threaded = [url.replace("asyncpg", "psycopg") for url in urls]
threads = Cluster(threaded[0], replicas=threaded[1:], **patience)

def made():
    return cluster
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes an application whose cluster has these servers, the primary first; gives its name."""
    monkeypatch.chdir(tmp_path)

    def write(*urls: str) -> str:
        (tmp_path / "shop.py").write_text(SHOP.format(urls=list(urls)))
        return "shop.py"

    return write


def ask(capsys: pytest.CaptureFixture[str], *arguments: str, status: int) -> tuple[list[dict[str, Any]], str]:
    assert main(["db", "status", *arguments, "--json"]) == status
    output, errors = capsys.readouterr()
    return [json.loads(line) for line in output.splitlines()], errors


@pytest.mark.parametrize("name", ["cluster", "threads"])
def test_all_is_well(name: str, shop: Any, database: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each server, in both colours; 0; and no connection stays open."""
    urls = database.primary_url(), *database.replica_urls()
    where = f"{shop(*urls)}:{name}"
    assert main(["db", "status", where, "--max-lag", "1m"]) == 0
    output, errors = capsys.readouterr()
    heading, *rows, last = output.splitlines()
    assert heading.split() == ["role", "lag", "timeline", "pool", "server"]
    assert last == "all is well"
    assert errors == "the application prints this\n"
    assert [row.split()[0] for row in rows] == ["primary", "replica", "replica"]
    primary = rows[0].split()
    assert primary[1:5] == ["1", "16", "of", "197"]
    assert primary[5] == f"127.0.0.1:{database.cluster.primary.port}/{database.name}"
    wait_until(lambda: connections(database) == 0, what="its connections are closed")


def test_for_programs(shop: Any, database: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An object for each server, and one for the whole; the cluster may be made by a function."""
    where = f"{shop(database.primary_url(), *database.replica_urls())}:made"
    (primary, replica, _, whole), _ = ask(capsys, where, "--factory", "--max-lag", "1m", status=0)
    assert whole == {"done": True, "healthy": True, "primary": primary["server"]}
    assert (primary["state"], primary["timeline"], primary["pool"], primary["connections"]) == (
        "primary", 1, 16, 197,
    )  # fmt: skip
    assert (replica["state"], replica["reason"]) == ("replica", None)
    assert replica["position"].count("/") == 1
    assert 0 <= replica["lag"] < 60


def test_a_replica_that_is_behind(shop: Any, database: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """More than --max-lag is 1, and which one; what it needs to catch up it gets."""
    replica = database.cluster.replicas[0]
    where = f"{shop(database.primary_url(), *database.replica_urls())}:cluster"
    with pause_replay(replica):
        database.cluster.primary.sql("CREATE TABLE later (id int)", database=database.name)
        assert main(["db", "status", where, "--max-lag", "0.5s"]) == 1
    output, errors = capsys.readouterr()
    (row,) = [line for line in output.splitlines() if f":{replica.port}/" in line]
    assert row.split()[:4] == ["behind", "over", "0.5", "s"]
    name = row.split()[-1]
    assert f"{name} has not replayed what the primary had 0.5 s ago\n" in errors
    assert "all is well" not in output
    servers, _ = ask(capsys, where, "--max-lag", "1m", status=0)
    assert {server.get("state") for server in servers} == {"primary", "replica", None}


def test_servers_that_are_down(shop: Any, database: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One that does not answer is 1, with what the driver says and without the password; so is no primary."""
    down = f"postgresql+asyncpg://app:hunter2@127.0.0.1:1/{database.name}"
    (_, replica, whole), errors = ask(capsys, f"{shop(database.primary_url(), down)}:cluster", status=1)
    assert replica["state"] == "silent"
    assert not whole["healthy"]
    assert f"127.0.0.1:1/{database.name} does not answer: " in errors
    (_, _, whole), more = ask(capsys, f"{shop(*database.replica_urls())}:cluster", status=1)
    assert whole["primary"] is None
    assert "none of them takes writes\n" in more
    assert "hunter2" not in errors + more


def test_a_server_alone(shop: Any, database: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One without replicas is looked at, too."""
    (server, _), _ = ask(capsys, f"{shop(database.primary_url())}:threads", status=0)
    assert (server["state"], server["connections"]) == ("single", 197)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("urls", "shop.py:urls is no cluster but a list; there is shop.py:cluster, shop.py:threads"),
        ("gone", "shop.py has no 'gone'"),
        ("", "'shop.py:' names nothing; write it as module:app, or app.py:app"),
    ],
)
def test_mistakes(name: str, words: str, shop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name is 2, and those that would be right are named."""
    assert main(["db", "status", f"{shop('postgresql+asyncpg://app:hunter2@127.0.0.1:1/shop')}:{name}"]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert "hunter2" not in errors


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number", "status"), [
    ("cluster", signal.SIGINT, 130), ("threads", signal.SIGINT, 130), ("cluster", signal.SIGTERM, 143),
])  # fmt: skip
def test_stopped(name: str, number: int, status: int, shop: Any, database: Any, tmp_path: Path) -> None:
    """A signal while it waits for a replica ends it without a traceback, and its connections with it."""
    where = f"{tmp_path / shop(database.primary_url(), *database.replica_urls())}:{name}"
    with pause_replay(database.cluster.replicas[0]):
        database.cluster.primary.sql("CREATE TABLE later (id int)", database=database.name)
        wait_until(lambda: connections(database) == 0, what="nobody else is there")
        process = start("db", "status", where, "--max-lag", "1h")
        try:
            wait_until(lambda: connections(database) > 0, timeout=60, interval=0.05, what="it has asked")
            process.send_signal(number)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, output) == (status, "")
    assert "Traceback" not in errors
    wait_until(lambda: connections(database) == 0, what="it is gone")


def connections(database: Any) -> int:
    """How many the primary has to the database, without those that ask so: they end a moment later."""
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND query NOT LIKE '%pg_stat_activity%'"
    )
    return int(database.cluster.primary.sql(others, database=database.name))
