"""The cache examples, as real processes: two servers each, which share what they cached."""

import os
from pathlib import Path

import pytest

from tests import plain
from tests.ops.child import child, wait_until
from tests.servers import RedisServer
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_two_servers_agree(framework: str, tmp_path: Path) -> None:
    """What one has computed the other serves; what is added through one is seen through the other at once."""
    scheme = "sqlite+aiosqlite" if framework == "fastapi" else "sqlite"
    ports = free_port(), free_port()
    one, two = (f"http://127.0.0.1:{port}" for port in ports)
    with RedisServer() as redis:
        env = {**os.environ, "REDIS_URL": redis.url, "DATABASE_URL": f"{scheme}:///{tmp_path}/products.db"}
        module = ("tests.patience", f"examples.cache_{framework}")  # what it computes is counted
        with child("-m", *module, env=env | {"PORT": str(ports[0])}):
            wait_until(lambda: plain.answers(f"{one}/stats"), "the first is up")
            with child("-m", *module, env=env | {"PORT": str(ports[1])}):
                wait_until(lambda: plain.answers(f"{two}/stats"), "the second is up")
                assert plain.get(f"{one}/products/books").json() == []
                assert plain.get(f"{two}/products/books").json() == []
                for number in range(1, 4):
                    names = [f"book-{each}" for each in range(1, number + 1)]
                    assert plain.post(f"{one}/products/books/book-{number}").is_success
                    for url in (two, one, two):
                        shown = plain.get(f"{url}/products/books").json()
                        assert [row["name"] for row in shown] == names
                shop = {"host": "shop"}  # as behind one load balancer: a page is its host's
                pages = [plain.get(f"{url}/pages/books", headers=shop) for url in (one, two)]
                assert pages[0].text == pages[1].text
                assert pages[0].headers["etag"] == pages[1].headers["etag"]
                known = shop | {"if-none-match": pages[0].headers["etag"]}
                assert plain.get(f"{two}/pages/books", headers=known).status_code == 304
                stats = [plain.get(f"{url}/stats").json() for url in (one, two)]
                # Four lists, and a page, which has asked for one of them once more.
                assert sum(each["computes"] for each in stats) == 5
                assert sum(each["hits"] for each in stats) == 10
                assert plain.post(f"{two}/products/books/book-4").is_success
                assert "book-4" in plain.get(f"{one}/pages/books", headers=known).text
