"""The public types of scalekit.cache, as a type checker sees them."""

from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette

from scalekit.cache import Cache, Stats
from scalekit.cache.asgi import ResponseMiddleware
from scalekit.cache.backend import Backend
from scalekit.cache.memcached import MemcachedBackend
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.redis import RedisBackend


@dataclass
class Row:
    id: int


cache = Cache(
    RedisBackend.from_url("redis://localhost:6379/1"), local_entries=10_000, local_ttl=timedelta(seconds=1)
)
memory: Backend = MemoryBackend(max_entries=10)
redis: Backend = RedisBackend.from_url("redis://localhost")
RedisBackend.from_url("redis://localhost", time_out=0.5)  # type: ignore[call-arg]
memcached: Backend = MemcachedBackend.from_url("memcached://localhost", max_item_size=1 << 21, timeout=0.1)
MemcachedBackend.from_url("memcached://localhost", time_out=0.5)  # type: ignore[call-arg]


@cache.query(ttl=60, reads=["product"], ignore=("session",))
async def top(session: AsyncSession, category: str, limit: int = 10) -> list[Row]:
    return []


@cache.query(ttl=timedelta(minutes=1), tags=["front"], name="double")
def double(number: int) -> int | None:
    return number


async def use(session: AsyncSession) -> None:
    running: Coroutine[Any, Any, list[Row]] = top(session, "books")
    assert_type(await running, list[Row])
    assert_type(await top(session, category="books", limit=1), list[Row])
    assert_type(await top.invalidate(category="books"), None)
    assert_type(top.key(category="books"), str)
    assert_type(double(1), int | None)
    assert_type(double.invalidate(1), None)
    assert_type(double.key(1), str)
    assert_type(await cache.invalidate_tags("front"), None)
    assert_type(cache.invalidate_tags_sync("front"), None)
    assert_type(cache.stats(), Stats)
    assert_type(cache.stats().hit_rate, float)
    assert_type(await cache.close(), None)
    await top(session, 1)  # type: ignore[arg-type]
    double("1")  # type: ignore[arg-type]


class Shop:
    @cache.query(ttl=60, identity=lambda self: self.tenant, tags=["category:{category}"])
    async def top(self, category: str) -> list[Row]:
        return []

    @cache.query(ttl=60)
    def count(self, category: str) -> int:
        return 1

    @cache.query(ttl=60)
    @classmethod
    async def every(cls, category: str) -> list[Row]:
        return []

    @cache.query(ttl=60)
    @staticmethod
    def plain(category: str) -> int:
        return 1

    @property
    @cache.query(ttl=60)
    def total(self) -> int:
        return 1


async def use_methods(shop: Shop) -> None:
    assert_type(await shop.top("books"), list[Row])
    assert_type(await shop.top.refresh("books"), list[Row])
    assert_type(await shop.top.bypass(category="books"), list[Row])
    assert_type(shop.count("books"), int)
    assert_type(shop.count.refresh("books"), int)
    assert_type(shop.count.invalidate("books"), None)
    assert_type(await Shop.every("books"), list[Row])
    assert_type(await Shop.every.refresh("books"), list[Row])
    assert_type(Shop.plain("books"), int)
    assert_type(await shop.every("books"), list[Row])
    assert_type(await Shop.top(shop, "books"), list[Row])
    assert_type(shop.total, int)
    await shop.top(1)  # type: ignore[arg-type]
    await shop.top.refresh()  # type: ignore[call-arg]
    Shop.plain(1)  # type: ignore[arg-type]


@cache.query(ttl=60)
def loose(session: Any, number: int) -> int:
    return number


loose(None, 1)
loose(session=None, number=1)


@cache.batch(ttl=60, reads=["product"], tags=["product:{id}"])
async def rows_of(session: AsyncSession, ids: list[int]) -> dict[int, Row]:
    return {}


@cache.batch(ttl=60, over="ids", pickle_key="secret")
def names(ids: list[str], lang: str = "en") -> dict[str, str | None]:
    return {}


class Catalogue:
    @cache.batch(ttl=60, identity=lambda self: self.tenant)
    def prices(self, ids: set[int]) -> dict[int, float]:
        return {}


async def use_batches(session: AsyncSession) -> None:
    assert_type(Catalogue().prices({1}), dict[int, float])
    assert_type(Catalogue().prices.key(1), str)
    assert_type(await rows_of(session, [1]), dict[int, Row])
    assert_type(await rows_of.invalidate(1, 2), None)
    assert_type(await rows_of.refresh(session, [1]), dict[int, Row])
    assert_type(names(["a"], lang="de"), dict[str, str | None])
    assert_type(names.bypass(["a"]), dict[str, str | None])
    assert_type(names.invalidate("a", lang="de"), None)
    assert_type(names.key("a"), str)
    await rows_of(session, ["a"])  # type: ignore[list-item]


@cache.response(ttl=60, reads=["product"], vary=["accept-language"], ignore_cookies=["_ga*"])
async def page(category: str) -> list[Row]:
    return []


@cache.response(ttl=timedelta(minutes=1), max_age=30, name="view")
def view(category: str) -> str:
    return category


async def pages() -> None:
    assert_type(await page("books"), list[Row])
    assert_type(await page.invalidate("/books", "/films"), None)
    assert_type(view("books"), str)
    assert_type(view.invalidate("/books"), None)
    await page(1)  # type: ignore[arg-type]
    with cache.isolated(memory), cache.disabled():
        pass
    async with cache.isolated(), cache.disabled():
        pass
    assert_type(await cache.clear(), None)
    assert_type(cache.clear_sync(), None)
    cache.on(lambda name, number: print(name, number))()


application = Starlette()
application.add_middleware(
    ResponseMiddleware, cache=cache, ttl=timedelta(minutes=1), paths=["/about"], reads=["product"], max_age=30
)
