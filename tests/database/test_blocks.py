"""Blocks that send transactions to the primary or to the replicas: where they count, and when they end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import text

from scalekit.database import ANY, CAUSAL, STRONG, AsyncCluster, Bounded, Cluster, Consistency
from scalekit.database.asgi import ReadYourWritesMiddleware
from scalekit.database.scope import Scope
from scalekit.database.scopes import Scopes
from scalekit.errors import ConfigurationError
from tests.database._readers import all_readers

SECRET = "a secret that is long enough"
REPLICA = text("SELECT pg_is_in_recovery()")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Of one SQLite in memory: what blocks say can be asked without a server."""
    with Cluster("sqlite://") as made:
        yield made


def level(cluster: Cluster | AsyncCluster) -> Consistency | None:
    """What the code that calls this runs in."""
    scopes = cluster.scopes
    return scopes.level(scopes.current() or scopes.process)


def test_the_innermost_block_counts(cluster: Cluster) -> None:
    """5. Blocks nest, an inner one that ends leaves the outer one, and outside there is none."""
    assert level(cluster) is None
    with cluster.primary():
        assert level(cluster) is STRONG
        with cluster.replicas(Bounded(5)):
            assert level(cluster) == Bounded(5)
            with pytest.raises(ZeroDivisionError), cluster.primary():
                raise ZeroDivisionError
            assert level(cluster) == Bounded(5)
        assert level(cluster) is STRONG
    assert level(cluster) is None


def test_what_replicas_stand_for(cluster: Cluster) -> None:
    """6. The cluster's level; where that is the primary, the visitor's own writes are what counts."""
    with cluster.replicas():
        assert level(cluster) is CAUSAL
    for default, meant in ((ANY, ANY), (Bounded(9), Bounded(9)), (STRONG, CAUSAL)):
        with Cluster("sqlite://", consistency=default) as other, other.replicas():
            assert level(other) == meant
            assert level(cluster) is None, "another cluster's block"
    with pytest.raises(ConfigurationError, match=r"use cluster\.primary\(\)"):
        cluster.replicas(STRONG)
    with pytest.raises(ConfigurationError, match="use ANY, CAUSAL"):
        cluster.replicas("ANY")  # type: ignore[arg-type]


async def test_decorators(cluster: Cluster) -> None:
    """5. Above functions of both colours, called often and at the same time; a generator is refused."""

    @cluster.primary()
    def plain(value: int, *, add: int) -> tuple[int, Consistency | None]:
        """As it was."""
        return value + add, level(cluster)

    started = asyncio.Event()

    @cluster.replicas(ANY)
    async def slow(waits: bool) -> Consistency | None:
        if waits:
            started.set()
            await asyncio.sleep(0)
        else:
            await started.wait()
        return level(cluster)

    for _ in range(2):
        assert plain(1, add=2) == (3, STRONG)
    assert plain.__doc__ == "As it was."
    assert await asyncio.gather(slow(waits=False), slow(waits=True)) == [ANY, ANY]
    assert level(cluster) is None

    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    for wrong in (generator, async_generator):
        with pytest.raises(
            ConfigurationError, match=r"cannot decorate the generator .*generator; write `with"
        ):
            cluster.primary()(wrong)


def test_a_block_object_is_entered_once(cluster: Cluster) -> None:
    """23. Two tasks that shared it would end it for each other."""
    block = cluster.primary()
    with block, pytest.raises(RuntimeError, match=r"write `with cluster\.primary\(\):`"), block:
        pass
    assert level(cluster) is None


async def test_a_block_ends_for_the_tasks_that_it_started(cluster: Cluster) -> None:
    """23. A task that outlives the block is as free as if it had been started outside, and so are threads."""
    go = asyncio.Event()

    async def child() -> list[Consistency | None]:
        inside = level(cluster)
        await go.wait()
        after = level(cluster)
        with cluster.replicas():
            return [inside, after, level(cluster), await asyncio.to_thread(level, cluster)]

    with cluster.primary():
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
    go.set()
    assert await task == [STRONG, None, CAUSAL, CAUSAL]


async def test_a_block_of_one_task_is_not_its_siblings(cluster: Cluster) -> None:
    """23. In one request too: what runs beside the block goes on as before."""
    entered = asyncio.Event()

    async def pay() -> None:
        with cluster.primary():
            entered.set()
            await asyncio.sleep(0)

    async def read() -> Consistency | None:
        await entered.wait()
        return level(cluster)

    with cluster.scope():
        assert (await asyncio.gather(pay(), read()))[1] is None


def test_blocks_of_threads_that_overlap() -> None:
    """23. None is inside another: the primary wins, else the last one; each ends by itself."""
    with Cluster("sqlite://") as cluster, cluster.scope() as request:
        any_, primary, bounded = cluster.replicas(ANY), cluster.primary(), cluster.replicas(Bounded(1))
        seen = []
        for block in (any_, primary, bounded):
            request.open(block)
            seen.append(request.level())
        for block in (primary, bounded, any_):
            request.close(block)
            seen.append(Scope(parent=request).level())
    assert seen == [ANY, STRONG, STRONG, Bounded(1), ANY, None]


def synchronous(cluster: Cluster | AsyncCluster) -> Callable[[], Iterator[None]]:
    """A dependency that FastAPI runs in a thread."""

    def dependency() -> Iterator[None]:
        with cluster.primary():
            yield

    return dependency


def asynchronous(cluster: Cluster | AsyncCluster) -> Callable[[], AsyncIterator[None]]:
    """A dependency that FastAPI runs in the request's task."""

    async def dependency() -> AsyncIterator[None]:
        with cluster.primary():
            yield

    return dependency


@pytest.mark.parametrize("kind", [synchronous, asynchronous])
async def test_a_block_in_a_dependency(cluster: Cluster, kind: Callable[[Cluster], Any]) -> None:
    """23. It counts in endpoints of both colours, for no other request, and is over with its own."""
    app = FastAPI()
    app.add_middleware(ReadYourWritesMiddleware, cluster=cluster, secret_key=SECRET)
    inside = Annotated[None, Depends(kind(cluster))]
    seen: list[Scope | None] = []

    @app.get("/thread")
    def thread(block: inside) -> str:
        seen.append(cluster.scopes.current())
        return str(level(cluster))

    @app.get("/task")
    async def task(block: inside) -> str:
        return str(level(cluster))

    @app.get("/narrower")
    def narrower(block: inside) -> str:
        with cluster.scope(), cluster.replicas(ANY):
            return str(level(cluster))

    @app.get("/plain")
    def plain() -> str:
        return str(level(cluster))

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as browser:
        paths = ("/thread", "/task", "/narrower", "/plain")
        found = [answer.json() for answer in await asyncio.gather(*map(browser.get, paths))]
    assert found == ["STRONG", "STRONG", "ANY", "None"]
    assert seen[0] is not None
    assert seen[0].level() is None


def test_a_block_that_ends_in_another_context() -> None:
    """23. As generators are closed by whoever finds them: it is over all the same."""
    from contextvars import copy_context

    scopes = Scopes()
    request = Scope()
    with Cluster("sqlite://") as cluster:
        block = cluster.primary()
        block._stack = scopes
        with scopes.enter(request):
            copy_context().run(block.__enter__)
            assert scopes.level(request) is STRONG
        block.__exit__(None, None, None)
        assert scopes.level(request) is None


async def test_blocks_choose_servers(make_async: Callable[..., AsyncCluster]) -> None:
    """26. A request that starts on the primary reads from a replica inside replicas(), and a safe one from
    the primary inside primary(); a session's own level counts against replicas() only."""
    cluster = make_async()
    await all_readers(cluster)

    async def on_replica(consistency: Consistency | None = None) -> Any:
        async with cluster.session(consistency=consistency) as session:
            return (await session.execute(REPLICA)).scalar()

    with cluster.scope(writes=True):
        assert await on_replica() is False
        with cluster.replicas():
            assert await on_replica() is True
            assert await on_replica(STRONG) is False
        assert await on_replica() is False
    with cluster.scope():
        assert await on_replica() is True
        with cluster.primary():
            assert await on_replica(ANY) is False
        assert await on_replica() is True
