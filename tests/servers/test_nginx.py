"""Nginx."""

import urllib.request

import pytest

from tests.conftest import MakeNginx
from tests.servers import Nginx, ServerFailed
from tests.servers.processes import alive, tree


def get(url: str) -> tuple[str, str | None]:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode(), response.headers["X-Cache"]


def test_proxies_and_caches(nginx: MakeNginx) -> None:
    """One nginx caches what another one says, the second time from its cache."""
    origin = nginx('location / { add_header Cache-Control "max-age=60"; return 200 "origin\\n"; }')
    cache = nginx(
        f"proxy_cache c; add_header X-Cache $upstream_cache_status;location / {{ proxy_pass {origin.url}; }}",
        http="proxy_cache_path cache keys_zone=c:1m;",
    )
    assert get(cache.url) == ("origin\n", "MISS")
    assert get(cache.url) == ("origin\n", "HIT")


def test_goes_away() -> None:
    """Its master and its worker end; its directory goes."""
    with Nginx("return 204;") as server:
        pids, directory = tree(server.pid), server.directory
        assert len(pids) >= 2
    assert not alive(pids)
    assert not directory.exists()


def test_a_mistake_in_the_configuration_is_shown() -> None:
    """The error carries nginx's own words."""
    with pytest.raises(ServerFailed, match="no_such_directive"):
        Nginx("no_such_directive on;").start()
