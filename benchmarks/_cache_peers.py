"""The peers of the cache, each told as its documentation says to cache one function for ten minutes.

In Redis all keep pickles. From memory all but cashews hand out the very object that the others have, too.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiocache
import cashews
import cashews.key
import redis.asyncio
from aiocache.serializers import PickleSerializer
from dogpile.cache import make_region
from dogpile.cache.util import function_key_generator
from fastapi_cache import FastAPICache, default_key_builder
from fastapi_cache.backends.inmemory import InMemoryBackend
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.coder import PickleCoder
from fastapi_cache.decorator import cache as fastapi_cache

Function = Callable[..., Any]
AIOCACHE, CASHEWS, DOGPILE, FASTAPI_CACHE = (
    "aiocache 0.12.3",
    "cashews 7.6.0",
    "dogpile.cache 1.5.0",
    "fastapi-cache2 0.2.2",
)
_CONNECTIONS = 1_000  # redis-py refuses the 101st by default


@dataclass(frozen=True)
class Peers:
    """Decorators by name; ``url`` of Redis, or ``None`` for the process's memory."""

    asynchronous: dict[str, Callable[[Function], Function]]
    synchronous: dict[str, Callable[[Function], Function]]


@contextmanager
def peers(url: str | None, *, lock: bool = False) -> Iterator[Peers]:
    """All of them.

    Args:
        url: of Redis; ``None`` has them keep results in the process.
        lock: with what they have against a burst on a cold key.
    """
    place = urlsplit(url or "")
    theirs = cashews.Cache()
    theirs.setup(url or "mem://", **({"client_side": False, "max_connections": _CONNECTIONS} if url else {}))
    region = make_region()
    if url is None:
        region.configure("dogpile.cache.memory", expiration_time=600)
        FastAPICache.init(InMemoryBackend(), prefix="peer", coder=PickleCoder)
        options: dict[str, Any] = {}
    else:
        # Without a lock of Redis's, dogpile has one for the threads of a process.
        arguments = {
            "url": url,
            "distributed_lock": lock,
            "thread_local_lock": False,
            "connection_kwargs": {"max_connections": _CONNECTIONS},
        }
        region.configure("dogpile.cache.redis", expiration_time=600, arguments=arguments)
        client = redis.asyncio.from_url(url, max_connections=_CONNECTIONS)
        FastAPICache.init(RedisBackend(client), prefix="peer", coder=PickleCoder)
        options = {
            "cache": aiocache.Cache.REDIS,
            "endpoint": place.hostname,
            "port": place.port,
            "serializer": PickleSerializer(),
            "pool_max_size": _CONNECTIONS,
            "timeout": 60,
        }
    stampede = aiocache.cached_stampede(lease=2, ttl=600, **options) if lock else None
    try:
        yield Peers(
            asynchronous={
                CASHEWS: theirs(ttl=600, lock=lock),
                AIOCACHE: stampede or aiocache.cached(ttl=600, **options),
                FASTAPI_CACHE: fastapi_cache(expire=600),
            },
            synchronous={DOGPILE: region.cache_on_arguments()},
        )
    finally:
        FastAPICache.reset()


def keys(function: Callable[[str], Awaitable[Any]]) -> dict[str, Callable[[str], object]]:
    """How each makes the key of a call."""
    template = cashews.key.get_cache_key_template(function)
    of_aiocache = aiocache.cached(ttl=600)
    of_dogpile = function_key_generator(None, function)
    signature = inspect.signature(function)

    def bound(category: str) -> str:
        arguments = signature.bind(category)
        arguments.apply_defaults()
        return f"{function.__qualname__}:{arguments.arguments}"

    return {
        "bind and str": bound,
        CASHEWS: lambda category: cashews.key.get_cache_key(function, template, (category,), {}),
        AIOCACHE: lambda category: of_aiocache.get_cache_key(function, (category,), {}),
        DOGPILE: of_dogpile,
        FASTAPI_CACHE: lambda category: default_key_builder(function, args=(category,), kwargs={}),
    }


def lru(function: Function) -> Function:
    """The least there is: a dict in the process, nothing ever dropped."""
    return functools.lru_cache(function)
