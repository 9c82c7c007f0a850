"""A page that the cache keeps on the servers, and the CDN in front of them."""

import httpx
import pytest
from fastapi import FastAPI

from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend
from scalekit.cdn import CachePolicy
from scalekit.cdn.asgi import PolicyMiddleware


@pytest.mark.parametrize(
    ("max_age", "expected"),
    [
        (0, ("no-cache", None)),
        (600, ("public, max-age=0", "max-age=600")),
        (60, ("public, max-age=0", "max-age=60")),
    ],
)
async def test_a_page_that_both_keep(max_age: int, expected: tuple[str, str | None]) -> None:
    """The CDN keeps it for as long as the cache lets anybody; by default that is nobody, without asking."""
    cache, app, runs = Cache(MemoryBackend()), FastAPI(), []

    @app.get("/products/{sku}")
    @CachePolicy(cdn_max_age=600, tags=["product:{sku}"])
    @cache.response(ttl=600, max_age=max_age)
    async def product(sku: int) -> int:
        runs.append(sku)
        return sku

    app.add_middleware(PolicyMiddleware)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        for _ in range(2):
            reply = await client.get("/products/7")
            assert (reply.headers["cache-control"], reply.headers.get("cdn-cache-control")) == expected
            assert reply.headers.get("cache-tag") == (None if expected[1] is None else "product:7")
    assert runs == [7]
    await cache.close()
