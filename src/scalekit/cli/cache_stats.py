"""Show what a cache has in Redis: how many results of which function, and what memory they take.

It goes through the keys of Redis, a few hundred at a time, --at-most as many as you say, and changes nothing.
Memcached tells nobody its keys: of it you hear whether it answers.

Hits and misses are counted in each process of the application, and shown by its /metrics.
"""

import argparse
from typing import TYPE_CHECKING

from scalekit.cli._caches import add_cache, colour_of, find_cache
from scalekit.cli._stop import drive
from scalekit.cli._values import counted, positive

if TYPE_CHECKING:
    from scalekit.cache import Cache
    from scalekit.cache.redis_survey import Held, Survey
    from scalekit.cli._terminal import Terminal
    from scalekit.types import Colour

SUMMARY = "show what a cache has, by function"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cache(parser)
    parser.add_argument(
        "--at-most",
        type=positive,
        default=100_000,
        metavar="N",
        help="keys to go through, other programs' included (100000); of a Cluster on each node",
    )


def run(arguments: argparse.Namespace, terminal: "Terminal") -> int:
    cache = find_cache(arguments)
    colour = colour_of(cache)
    found = _survey(cache, colour, arguments.at_most, terminal)
    if found is None:
        entries = cache.backend.using(colour)
        drive(entries.ping(), colour)
        terminal.record({"done": True, "answers": True})
        terminal.say(f"{type(cache.backend).__name__}: answers; it does not tell what it has")
        return 0
    _tell(found, terminal)
    return 0


def _survey(cache: "Cache", colour: "Colour", at_most: int, terminal: "Terminal") -> "Survey | None":
    """What is found in Redis; ``None`` of another back end."""
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(cache.backend).__mro__}
    if "scalekit.cache.redis.RedisBackend" not in kinds:
        return None
    from scalekit.cache.redis import RedisBackend
    from scalekit.cache.redis_survey import survey

    assert isinstance(cache.backend, RedisBackend)
    with terminal.status() as show:

        def on_progress(now: "Survey") -> None:
            if now.looked_at < now.keys:
                show(f"{now.looked_at} of {now.keys} keys; {now.results.entries} results")

        return drive(survey(cache.backend, colour, at_most=at_most, on_progress=on_progress), colour)


def _tell(found: "Survey", terminal: "Terminal") -> None:
    results = found.results
    functions = sorted(found.functions.items(), key=lambda pair: (-(pair[1].bytes or 0), pair[0]))
    for name, held in functions:
        terminal.record({"function": name, "entries": held.entries, "bytes": held.bytes})
    facts = {"done": True, "entries": results.entries, "bytes": results.bytes}
    facts |= {"tags": found.tags.entries, "keys": found.keys, "looked_at": found.looked_at}
    terminal.record(facts)
    if functions:
        rows = [[str(held.entries), _size(held, terminal), name] for name, held in functions]
        terminal.table(["results", "memory", "function"], rows)
    size = _size(results, terminal)
    terminal.say(f"{counted(results.entries, 'result')} ({size}); tables and tags: {found.tags.entries}")
    if found.looked_at < found.keys:
        terminal.problem(
            f"there may be more: {found.looked_at} of {found.keys} keys were gone through; see --at-most"
        )


def _size(held: "Held", terminal: "Terminal") -> str:
    return "?" if held.bytes is None else terminal.size(held.bytes)
