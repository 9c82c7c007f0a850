"""Which cache a command is about."""

import argparse
from typing import TYPE_CHECKING, Any

from scalekit.cli._objects import add_loading, load_object, refuse_factory
from scalekit.cli._redis_url import PATIENCE, add_redis, redis_url
from scalekit.errors import ConfigurationError, WrongColour

if TYPE_CHECKING:
    from scalekit.cache import Cache
    from scalekit.types import Colour


def add_cache(parser: argparse.ArgumentParser) -> None:
    """The options that :func:`find_cache` reads."""
    parser.add_argument(
        "--cache",
        metavar="OBJECT",
        help="the cache of the application, such as shop:cache or shop.py:cache; for one in Memcached",
    )
    add_loading(parser, target="OBJECT", returns="the cache")
    add_redis(parser)
    parser.add_argument("--prefix", metavar="TEXT", help="what the keys in Redis begin with, if it is not c:")


def find_cache(arguments: argparse.Namespace) -> "Cache":
    """The cache.

    Raises:
        ConfigurationError: there is none, or it is in the memory of each process.
    """
    from scalekit.cache import Cache

    if arguments.cache is None:
        from scalekit.cache.redis import RedisBackend

        refuse_factory(arguments, without="--cache")
        url = redis_url(arguments, instead="--cache module:cache")
        prefix = {} if arguments.prefix is None else {"prefix": arguments.prefix}
        return Cache(RedisBackend.from_url(url, timeout=PATIENCE, connect_timeout=PATIENCE, **prefix))
    if arguments.redis is not None or arguments.prefix is not None:
        raise ConfigurationError("--cache says where results are; leave out --redis and --prefix")
    cache: Cache = load_object(arguments.cache, arguments, wanted="cache", fits=_is_cache, option="--cache")
    if cache.backend.local:
        raise ConfigurationError(
            f"{arguments.cache} keeps results in the memory of each process of the application, where no "
            "other can look; RedisBackend keeps them for all"
        )
    return cache


def colour_of(cache: "Cache") -> "Colour":
    """The colour that it is asked in."""
    try:
        cache.backend.using("sync")
    except WrongColour:
        return "async"
    return "sync"


def _is_cache(thing: Any) -> bool:
    from scalekit.cache import Cache

    return isinstance(thing, Cache)
