"""The cache examples, as real processes: two servers each, which share what they cached."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests import plain
from tests.ops.child import child, wait_until
from tests.servers import RedisServer
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow


def listed(url: str) -> list[str]:
    return [row["name"] for row in plain.get(f"{url}/products/books").json()]


def counted(*urls: str) -> Counter[str]:
    """What was computed, and what was served, by all of them together."""
    stats = [plain.get(f"{url}/stats").json() for url in urls]
    return Counter({name: sum(each[name] for each in stats) for name in ("computes", "hits")})


def settled(redis: RedisServer) -> bool:
    """Whether every tag has a version, and no mark of somebody who is committing."""
    return all(redis.call("GET", key.decode())[:1] == b"V" for key in redis.call("KEYS", "c:t:*"))


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
                    assert listed(two) == names
                    # The marks of a commit are taken away behind its answer: until then nothing is stored.
                    wait_until(lambda: settled(redis), "the end of the commit")
                    before = counted(one, two)
                    assert [listed(url) for url in (two, one, two)] == [names] * 3
                    since = counted(one, two) - before
                    assert since["computes"] <= 1
                    assert since.total() == 3
                before = counted(one, two)
                shop = {"host": "shop"}  # as behind one load balancer: a page is its host's
                pages = [plain.get(f"{url}/pages/books", headers=shop) for url in (one, two)]
                assert pages[0].text == pages[1].text
                assert pages[0].headers["etag"] == pages[1].headers["etag"]
                known = shop | {"if-none-match": pages[0].headers["etag"]}
                assert plain.get(f"{two}/pages/books", headers=known).status_code == 304
                # One page, which has asked for a list that was there; served from there by the other, twice.
                assert counted(one, two) - before == Counter(computes=1, hits=3)
                assert plain.post(f"{two}/products/books/book-4").is_success
                assert "book-4" in plain.get(f"{one}/pages/books", headers=known).text
