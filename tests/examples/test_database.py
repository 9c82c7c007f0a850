"""The database examples, as real processes: on one SQLite file, and on a primary with two replicas."""

import os
import secrets
from pathlib import Path

import pytest

from tests import plain
from tests.conftest import Database
from tests.ops.child import child, wait_until
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("fastapi", "starlette", "flask")


@pytest.mark.parametrize(
    ("framework", "servers"),
    [
        *[(framework, servers) for servers in ("sqlite", "postgres") for framework in FRAMEWORKS],
        ("flask_sqlalchemy", "postgres"),
        ("sqlmodel", "postgres"),
    ],
)
def test_what_is_written_is_read(
    framework: str, servers: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Post, get, and there it is; with replicas there is a cookie, with one server none is needed."""
    port = free_port()
    env = {**os.environ, "PORT": str(port), "SECRET_KEY": secrets.token_urlsafe()}
    if servers == "sqlite":
        scheme = "sqlite" if framework == "flask" else "sqlite+aiosqlite"
        env["DATABASE_URL"] = f"{scheme}:///{tmp_path}/notes.db"
    else:
        database: Database = request.getfixturevalue("database")
        driver = "psycopg" if framework.startswith("flask") else "asyncpg"
        env["DATABASE_URL"] = database.primary_url(driver)
        env["REPLICA_URLS"] = " ".join(database.replica_urls(driver))
    url = f"http://127.0.0.1:{port}"
    page = url if framework == "starlette" else f"{url}/notes"
    with child("-m", "tests.patience", f"examples.database_{framework}", env=env), plain.Client() as browser:
        wait_until(lambda: plain.answers(page), "up")
        for number in range(1, 6):
            text = f"note-{number}"
            if framework == "starlette":
                written = browser.post(url, content=text)
            else:
                written = browser.post(f"{page}/{text}")
            assert written.is_success
            assert ("rw" in written.cookies) is (servers == "postgres")
            assert browser.get(page).json() == [f"note-{n}" for n in range(1, number + 1)]
        if framework == "starlette":
            status = browser.get(f"{url}/status").json()
            assert len(status["members"]) == (3 if servers == "postgres" else 1)
            assert status["primary"] == status["members"][0]["name"]
