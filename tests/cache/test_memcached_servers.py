"""Several Memcached servers, one of them away. Keys are spread by address: two ways to one server are two."""

import asyncio
import itertools
import time
from typing import Any

import pytest

from scalekit._steps import run
from scalekit.cache import Cache
from scalekit.cache.backend import Lookup
from scalekit.cache.entry import Hit, judge, pack
from scalekit.cache.memcached import MemcachedBackend
from scalekit.errors import BackendError
from tests.faults import FaultProxy, Interrupted
from tests.servers import Memcached


async def test_one_of_several_is_away(memcached_server: Memcached, prefix: str) -> None:
    """14, 15. What is kept on the others is served; of the one with everybody's record, nothing is. What was
    dropped meanwhile is not served here from then on, and by nobody once the server is back."""
    at, numbers, source = (memcached_server.host, memcached_server.port), range(80), 0
    with FaultProxy(*at) as one, FaultProxy(*at) as two:
        backend = MemcachedBackend.from_url(
            f"memcached://{one.host}:{one.port},{two.host}:{two.port}",
            prefix=prefix,
            timeout=30,
            connect_timeout=30,
            cooldown=0.05,
        )
        cache = Cache(backend)

        @cache.query(ttl=600, tags=["number:{number}"])
        async def query(number: int) -> int:
            return source

        async def ask() -> tuple[list[int], int]:
            """The results, and how many of them were hits."""
            before = cache.stats().hits
            return [await query(number) for number in numbers], cache.stats().hits - before

        async def settle() -> None:
            async with asyncio.timeout(60):
                while await ask() != ([source] * len(numbers), len(numbers)):
                    await asyncio.sleep(0.01)

        served = []
        for away in (one, two):
            await settle()
            await asyncio.to_thread(away.refuse)
            source += 1
            results, hits = await ask()
            assert results.count(source - 1) == hits
            assert results.count(source) == len(numbers) - hits
            served.append(hits)
            with pytest.raises(BackendError):
                await cache.invalidate_tags(*(f"number:{number}" for number in numbers))
            assert (await ask())[0] == [source] * len(numbers)
            await asyncio.to_thread(away.pass_through)
        await settle()
        assert min(served) == 0 < max(served) < len(numbers)
        await cache.close()


@pytest.mark.parametrize("there", ["nothing", "a lease", "an old result"])
@pytest.mark.parametrize("backwards", [False, True])
def test_leases_where_keys_and_tags_are_on_two_servers(
    memcached_server: Memcached, prefix: str, there: str, backwards: bool
) -> None:
    """1. Between any two commands of one process a tag is dropped, and another has a lease since. Nobody
    takes that away: in whatever order the servers do what they are told."""
    with FaultProxy(memcached_server.host, memcached_server.port) as way:
        url = f"{memcached_server.url},{way.host}:{way.port}"
        first, second = (
            MemcachedBackend.from_url(url, prefix=prefix, timeout=30, connect_timeout=30).using("sync")
            for _ in range(2)
        )
        entries: Any = first

        def acquire(entries: Any) -> Any:
            return run(entries.acquire(lookup, run(entries.read([lookup]))[0], ttl=20))

        def store(lease: Any) -> bool:
            now = int(time.time() * 1000)
            value = pack(lease.versions, made=now, delta=1, soft_end=now + 60_000, payload=b"result")
            return run(second.fill(lease, value, ttl=60))

        def interrupt() -> None:
            run(second.drop_tags(lookup.tags[:1]))
            leases.append(acquire(second))

        def named(word: str, *, beside: bool) -> str:
            """A name whose key is on the server of the generation, or is not."""
            names = (f"{word}:{number}" for number in itertools.count())
            place = "t:{}" if beside else "{}"
            alone = commands.elsewhere([prefix + "g"])
            return next(
                name
                for name in names
                if (commands.elsewhere([prefix + place.format(name)]) == alone) is beside
            )

        commands = entries._commands
        # The result, the generation and two tags are looked at, twice at most; then there are as many writes.
        for number in range(4 + 4 + 3):
            tags = (named(f"a{number}", beside=True), named(f"b{number}", beside=True))
            lookup, leases = Lookup(named(f"f{number}", beside=False), tags), list[Any]()
            if there != "nothing":
                assert (lease := acquire(second)).mine
                assert there == "a lease" or store(lease)
                run(second.drop_tags(tags[1:]))
            entries._commands = Interrupted(commands, number, interrupt, backwards=backwards)
            ours = acquire(entries)
            entries._commands = commands
            if not leases:  # it has had its lease by then
                interrupt()
            (theirs,) = leases
            assert theirs.mine
            assert (ours.mine, ours.token == theirs.token) in [(True, False), (False, True)]
            assert not ours.mine or ours.versions != theirs.versions
            third = acquire(second)
            assert (third.mine, third.token) == (False, theirs.token)
            assert store(theirs)
            (found,) = run(first.read([lookup]))
            assert isinstance(judge(found, int(time.time() * 1000)), Hit)
        first.close()
        second.close()
