"""The example of pages that a CDN keeps, as a real process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.ops.child import PATIENCE, child, wait_until
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow

SECRET = "a-secret-of-the-tests-0123"


@contextmanager
def example(**env: str) -> Iterator[httpx.Client]:
    port = free_port()
    given = {**os.environ, "PORT": str(port), **env}
    with (
        child("-m", "examples.cdn_policy", env=given),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client,
    ):

        def answers() -> bool:
            try:
                return client.get("/openapi.json").status_code in (200, 403)
            except httpx.TransportError:
                return False

        wait_until(answers, "up")
        yield client


def test_pages_that_a_cdn_keeps() -> None:
    """A page for everybody has its tags; those of one visitor nobody keeps, whatever their policy says."""
    with example() as client:
        page = client.get("/products/7", headers={"Cookie": "_ga=1"})
        assert page.headers["cache-control"] == "public, max-age=60, s-maxage=3600, stale-if-error=86400"
        assert page.headers["cache-tag"] == "products,product:7,maker:1"
        for path, cookie in (("/account", ""), ("/products/7", "session=1")):
            reply = client.get(path, headers={"Cookie": cookie})
            assert (reply.status_code, reply.headers["cache-control"]) == (200, "private"), path


def test_an_origin_that_only_the_cdn_reaches() -> None:
    """With a secret, it answers nobody else."""
    with example(ORIGIN_SECRETS=SECRET) as client:
        assert client.get("/products/7").status_code == 403
        reply = client.get("/products/7", headers={"X-Origin-Secret": SECRET})
        assert reply.json() == {"sku": 7, "maker": 1}
