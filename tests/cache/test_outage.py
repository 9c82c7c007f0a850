"""A back end that is away for a while: what was invalidated meanwhile is not served afterwards."""

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from scalekit.cache import Cache, debts, runtime
from scalekit.errors import BackendError
from tests.faults import FaultProxy
from tests.patience import TIMEOUTS


@pytest.fixture(params=TIMEOUTS)
def server(request: pytest.FixtureRequest) -> Any:
    """Redis, or Memcached."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
async def proxy(server: Any) -> AsyncIterator[FaultProxy]:
    """The network between one process and the server."""
    async with FaultProxy(server.host, server.port) as between:
        yield between


class Shop:
    """A process, and the database that all of them share."""

    source = 1

    def __init__(self, url: str, prefix: str) -> None:
        kind = urlsplit(url).scheme
        made = getattr(importlib.import_module(f"scalekit.cache.{kind}"), f"{kind.title()}Backend")
        self.cache = Cache(made.from_url(url, prefix=prefix, cooldown=0.05))

        @self.cache.query(ttl=3600, tags=["t"], name="stock")
        async def stock() -> int:
            return Shop.source

        self.stock: Any = stock


async def until(reads: Any, value: int) -> None:
    """Wait for `reads()` to give `value`, and to stay at it."""
    async with asyncio.timeout(20):
        while await reads() != value:
            await asyncio.sleep(0.01)


async def all_dropped(shop: Shop, value: int) -> None:
    """Call until the outage that `shop` saw is dealt with; each call gives `value`."""
    async with asyncio.timeout(20):
        while shop.cache._core.invalidation.outage.seconds() is not None:
            assert await shop.stock() == value
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("by", ["key", "tag", "everything"])
async def test_by_hand(server: Any, prefix: str, proxy: FaultProxy, by: str) -> None:
    """15. It raises, is made up for in the background, and not served here before."""
    Shop.source = 1
    here, there = Shop(proxy.url(server.url), prefix), Shop(server.url, prefix)
    assert await here.stock() == await there.stock() == 1
    await asyncio.to_thread(proxy.refuse)
    Shop.source = 2
    drops = {"key": here.stock.invalidate, "everything": here.cache.clear}
    with pytest.raises(BackendError):
        await (drops[by]() if by in drops else here.cache.invalidate_tags("t"))
    assert await here.stock() == 2
    await asyncio.to_thread(proxy.pass_through)
    assert await here.stock() == 2  # whether the breaker lets it through already or not
    await until(there.stock, 2)
    async with asyncio.timeout(20):  # the server has been told; that it has answered is seen a little later
        while here.cache._core.invalidation.debts:
            await asyncio.sleep(0.01)
    await here.cache.close()
    await there.cache.close()


async def test_who_invalidated_is_gone(
    server: Any, prefix: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15. A process that ends with its debts: whoever saw the outage, too, drops what is from before it."""
    monkeypatch.setattr(debts, "OUTAGE", 0.2)
    Shop.source = 1
    gone, here, there = (
        Shop(proxy.url(server.url), prefix),
        Shop(proxy.url(server.url), prefix),
        Shop(server.url, prefix),
    )
    assert await there.stock() == await here.stock() == await gone.stock() == 1
    await asyncio.to_thread(proxy.refuse)
    Shop.source = 2
    with pytest.raises(BackendError):
        await gone.cache.invalidate_tags("t")
    while gone.cache._core.invalidation.debts:  # as a process that ends does
        gone.cache._core.invalidation.debts.paid(gone.cache._core.invalidation.debts.copy())
    async with asyncio.timeout(20):
        while here.cache._core.invalidation.outage.seconds() is None:
            assert await here.stock() == 2
            await asyncio.sleep(0.02)
    await asyncio.to_thread(proxy.pass_through)
    await all_dropped(here, 2)
    assert await there.stock() == 2
    for shop in (gone, here, there):
        await shop.cache.close()


async def test_a_health_check_sees_it(
    server: Any, prefix: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15. An outage in which nobody gets as far as a cached function is seen by the health check."""
    monkeypatch.setattr(debts, "OUTAGE", 0.2)
    Shop.source = 1
    here, there = Shop(proxy.url(server.url), prefix), Shop(server.url, prefix)
    assert await there.stock() == await here.stock() == 1
    (dependency,) = here.cache.dependencies()
    await dependency.ask("async")  # type: ignore[misc]
    await asyncio.to_thread(proxy.refuse)
    async with asyncio.timeout(20):
        while here.cache._core.invalidation.outage.seconds() is None:
            with pytest.raises(BackendError):
                await dependency.ask("async")  # type: ignore[misc]
            await asyncio.sleep(0.02)
    Shop.source = 2  # whoever committed that has told the server that is lost
    await asyncio.to_thread(proxy.pass_through)
    await all_dropped(here, 2)
    assert await there.stock() == 2
    await here.cache.close()
    await there.cache.close()


async def test_a_hiccup_drops_nothing(
    server: Any, prefix: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """15. A time-out, or a connection that was cut, is no outage: what is cached stays."""
    monkeypatch.setattr(debts, "OUTAGE", 60.0)  # or a busy machine makes it one
    Shop.source = 1
    here = Shop(proxy.url(server.url), prefix)
    assert await here.stock() == 1
    await asyncio.to_thread(proxy.refuse)
    Shop.source = 2
    assert await here.stock() == 2
    await asyncio.to_thread(proxy.pass_through)
    await until(here.stock, 1)
    await here.cache.close()


TYPOS = {"password": "redis", "database": "redis", "port": "redis", "memcached port": "memcached"}


@pytest.mark.parametrize("wrong", [wrong for wrong, kind in TYPOS.items() if kind in TIMEOUTS])
def test_a_typo_in_the_url_is_in_the_log(
    wrong: str, request: pytest.FixtureRequest, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """14. Callers have their results all the same, so one warning tells it, without a secret."""
    kind = TYPOS[wrong]
    url = f"{kind}://127.0.0.1:1"
    if wrong in ("password", "database"):
        url = request.getfixturevalue("redis_url")
        url = url.replace("://", "://:a-secret@") if wrong == "password" else f"{url.rpartition('/')[0]}/99"
    made = getattr(importlib.import_module(f"scalekit.cache.{kind}"), f"{kind.title()}Backend")
    cache, address = Cache(made.from_url(url, prefix=prefix)), urlsplit(url)

    @cache.query(ttl=60)
    def double(number: int) -> int:
        return 2 * number

    with caplog.at_level(logging.DEBUG, logger="scalekit.cache"):
        assert [double(number) for number in range(3)] == [0, 2, 4]
    cache.close_sync()
    assert len(caplog.messages) == 1
    assert caplog.records[0].levelname == "WARNING"
    assert caplog.messages[0].startswith("queries run without the cache until its back end answers: ")
    assert f"{address.hostname}:{address.port}" in caplog.text
    assert "a-secret" not in caplog.text


@pytest.mark.usefixtures("long_leases")
async def test_a_lease_that_could_not_be_given_back(server: Any, prefix: str, proxy: FaultProxy) -> None:
    """5, 14. The connection broke while the result was stored: others do not wait for the lease's end."""
    here, there = Shop(proxy.url(server.url), prefix), Shop(server.url, prefix)

    @here.cache.query(ttl=60, name="answer")
    async def answer() -> int:
        proxy.cut(after=0)
        return 1

    @there.cache.query(ttl=60, name="answer")
    async def elsewhere() -> int:
        return 2

    assert await answer() == 1
    proxy.pass_through()
    async with asyncio.timeout(runtime.LEASE_TTL / 2):
        assert await elsewhere() in (1, 2)  # it may have been stored
    await here.cache.close()
    await there.cache.close()
