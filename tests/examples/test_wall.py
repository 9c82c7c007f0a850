"""The tutorial's finished wall, as two servers on real Redis, PostgreSQL with replicas, and S3."""

import os
import re
import secrets

import pytest

from tests import plain
from tests.ops.child import child, wait_until
from tests.servers.ports import free_port
from tests.storage.helpers import PNG

pytestmark = pytest.mark.slow


def test_two_servers_are_one_wall(request: pytest.FixtureRequest) -> None:
    """Logged in and hung up on one server, shown on the other; and gone with neither."""
    database, s3 = request.getfixturevalue("database"), request.getfixturevalue("s3_server").client_kwargs
    env = {
        **os.environ,
        "SECRET": secrets.token_urlsafe(),
        "REDIS_URL": request.getfixturevalue("redis_url"),
        "DATABASE_URL": database.primary_url("asyncpg"),
        "REPLICA_URLS": " ".join(database.replica_urls("asyncpg")),
        "S3_BUCKET": request.getfixturevalue("bucket"),
        "AWS_ENDPOINT_URL": s3["endpoint_url"],
        "AWS_DEFAULT_REGION": s3["region_name"],
        "AWS_ACCESS_KEY_ID": s3["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": s3["aws_secret_access_key"],
    }
    ports = free_port(), free_port()
    one, two = (f"http://127.0.0.1:{port}" for port in ports)
    with child("-m", "tests.patience", "examples.wall", env=env) as table:
        assert table.rest() == []
        assert table.process.returncode == 0
    patient = ("-m", "tests.patience", "uvicorn", "examples.wall:app", "--port")
    with (
        child(*patient, str(ports[0]), env=env),
        child(*patient, str(ports[1]), env=env),
        plain.Client() as browser,
    ):
        wait_until(lambda: plain.answers(f"{one}/health/ready"), "the first is up")
        wait_until(lambda: plain.answers(f"{two}/health/ready"), "the second is up")
        browser.post(f"{one}/login", data={"name": "ada"})
        hung = browser.post(f"{two}/photos", files={"photo": ("me.png", PNG, "image/png")})
        assert hung.status_code == 303, hung.text
        for server, path in ((one, "/mine"), (two, "/mine"), (one, "/"), (two, "/")):
            page = browser.get(server + path).text
            assert "Hello, ada" in page
            [photo] = re.findall(r'src="(/files/[^"]+)"', page)
            assert browser.get(server + photo, follow_redirects=True).content == PNG
        [logo] = re.findall(r'src="(/static/logo[^"]+)"', page)
        assert "immutable" in browser.get(two + logo).headers["cache-control"]
        assert (
            browser.post(f"{one}/photos", files={"photo": ("a.png", b"no", "image/png")}).status_code == 415
        )
