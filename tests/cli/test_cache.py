"""`scalekit cache` as a person and a program meet it, beside an application that caches in a real server."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("redis")

from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from scalekit.cli import main
from tests.cli.command import start
from tests.servers import Memcached, RedisCluster, wait_until

SLACK = "timeout=30, connect_timeout=30"

SHOP = f"""
import redis.asyncio
from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.redis import RedisBackend

print("the application prints this")
cache = Cache(RedisBackend.from_url({{url!r}}, prefix={{prefix!r}}, {SLACK}))
own = redis.asyncio.Redis.from_url({{url!r}}, socket_timeout=30)
asynchronous = Cache(RedisBackend(own, prefix={{prefix!r}}))
memory = Cache(MemoryBackend())
runs = []

@cache.query(ttl=600, reads=["products"])
def top(category: str, page: int = 1) -> list[str]:
    runs.append((category, page))
    return [category] * 100

@cache.query(ttl=600, reads=["orders"], tags=["customer:{{{{customer}}}}"])
async def orders(customer: int) -> int:
    runs.append(customer)
    return customer

def plain() -> None: ...

def made() -> Cache:
    return cache
"""


@pytest.fixture
def shop(
    tmp_path: Path, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """An application that has cached two pages of books and one of toys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"shop_{prefix[5:-1]}"
    (tmp_path / f"{name}.py").write_text(SHOP.format(url=redis_url, prefix=prefix))
    module = __import__(name)
    for category, page in (("books", 1), ("books", 2), ("toys", 1)):
        module.top(category, page)
    module.runs.clear()
    yield module
    module.cache.close_sync()


@pytest.fixture
def where(redis_url: str, prefix: str) -> list[str]:
    return ["--redis", redis_url, "--prefix", prefix]


def again(shop: ModuleType) -> list[Any]:
    """What is computed anew, of what the application had cached."""
    shop.runs.clear()
    for category, page in (("books", 1), ("books", 2), ("toys", 1)):
        shop.top(category, page)
    return list(shop.runs)


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["cache", *arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_stats_for_people(shop: ModuleType, where: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """How many results of which function, and their memory; of Redis as of the application's own object."""
    capsys.readouterr()
    for source in (
        where,
        ["--cache", f"{shop.__name__}:cache"],
        ["--cache", f"{shop.__name__}:asynchronous"],
        ["--cache", f"{shop.__name__}:made", "--factory"],
    ):
        assert main(["cache", "stats", *source]) == 0
        heading, row, last = capsys.readouterr().out.splitlines()
        assert heading.split() == ["results", "memory", "function"]
        count, _, unit, name = row.split()
        assert (count, unit, name) == ("3", "kB", f"{shop.__name__}.top")
        assert last.startswith("3 results (")
        assert last.endswith(" kB); tables and tags: 1")


def test_stats_for_programs(shop: ModuleType, where: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each function, and the sum; keys of others, and with other prefixes, are not counted."""
    function, last = ask(capsys, "stats", *where)
    assert (function["function"], function["entries"]) == (f"{shop.__name__}.top", 3)
    assert 3 * 300 < function["bytes"] < 3 * 3000
    assert (last["entries"], last["bytes"], last["tags"]) == (3, function["bytes"], 1)
    assert last["keys"] == last["looked_at"] >= 5
    assert ask(capsys, "stats", *where[:3], where[3][:-1] + "?")[0]["entries"] == 0, "no pattern"


def test_stats_are_bounded(
    shop: ModuleType, where: list[str], redis_url: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No more keys are gone through than were asked for, and it says that there may be more."""
    import redis

    client = redis.Redis.from_url(redis_url)
    with client, client.pipeline() as pipe:
        for number in range(3000):
            pipe.set(f"{prefix}many.results:{number}", "x", ex=60)
        pipe.execute()
    whole = ask(capsys, "stats", *where)[-1]
    assert whole["entries"] == 3003
    assert main(["cache", "stats", "--at-most", "1000", "--json", *where]) == 0
    output, errors = capsys.readouterr()
    part = json.loads(output.splitlines()[-1])
    assert 0 < part["entries"] < 3003
    assert part["looked_at"] == 1000
    assert f"there may be more: 1000 of {part['keys']} keys were gone through" in errors


def test_stats_of_a_cluster(
    redis_cluster: RedisCluster, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each master of a Cluster has some of the keys, and they are added up."""
    cache = Cache(RedisBackend.from_url(redis_cluster.url, prefix=prefix, timeout=30, connect_timeout=30))

    @cache.query(ttl=600)
    def square(number: int) -> int:
        return number * number

    for number in range(60):
        square(number)
    cache.close_sync()
    (function, last) = ask(capsys, "stats", "--redis", redis_cluster.url, "--prefix", prefix)
    assert (function["entries"], last["entries"]) == (60, 60)


def test_memcached_tells_no_keys(
    memcached_server: Memcached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Of Memcached it is told that it answers; results are dropped there as well."""
    pytest.importorskip("pymemcache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"kept_{prefix[5:-1]}"
    (tmp_path / f"{name}.py").write_text(
        "from scalekit.cache import Cache\nfrom scalekit.cache.memcached import MemcachedBackend\n"
        f"cache = Cache(MemcachedBackend.from_url({memcached_server.url!r}, prefix={prefix!r}, {SLACK}))\n"
        "@cache.query(ttl=60, reads=['products'])\ndef one() -> int:\n    return 1\n"
    )
    module = __import__(name)
    module.one()
    assert main(["cache", "stats", "--cache", f"{name}:cache"]) == 0
    assert capsys.readouterr().out == "MemcachedBackend: answers; it does not tell what it has\n"
    assert ask(capsys, "invalidate", "products", "--cache", f"{name}:cache") == [
        {"done": True, "tags": ["products"], "unknown": []}
    ]
    computes = module.cache.stats().computes
    module.one()
    assert module.cache.stats().computes == computes + 1
    module.cache.close_sync()


def test_a_table_is_invalidated(
    shop: ModuleType, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What reads it is computed anew, and a name that nothing reads is told; of the application's cache as of
    Redis."""
    everything = [("books", 1), ("books", 2), ("toys", 1)]
    capsys.readouterr()
    assert main(["cache", "invalidate", "product", "--json", *where]) == 0
    output, errors = capsys.readouterr()
    assert json.loads(output) == {"done": True, "tags": ["product"], "unknown": ["product"]}
    assert errors == "nothing that is cached reads product; is it called so?\n"
    assert again(shop) == []
    assert main(["cache", "invalidate", "products", *where]) == 0
    assert capsys.readouterr().out == "dropped: products\n"
    assert again(shop) == everything
    for name in ("cache", "asynchronous"):
        ask(capsys, "invalidate", "products", "--cache", f"{shop.__name__}:{name}")
        assert again(shop) == everything


def test_everything_is_dropped(
    shop: ModuleType, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """All results, of whatever function."""
    assert ask(capsys, "invalidate", "--everything", *where) == [{"done": True, "everything": True}]
    assert len(again(shop)) == 3


def test_a_call_is_dropped(shop: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The result of one call, written as in Python, of functions of both colours; other calls keep theirs."""
    import asyncio

    call = f"{shop.__name__}:top('books', page=2)"
    assert ask(capsys, "invalidate", "--call", call) == [{"done": True, "calls": [call]}]
    assert again(shop) == [("books", 2)]

    def order(customer: int) -> list[Any]:
        shop.runs.clear()
        asyncio.run(shop.orders(customer))
        return list(shop.runs)

    assert [order(1), order(2), order(1)] == [[1], [2], []]
    ask(
        capsys, "invalidate", "--call", f"{shop.__name__}:orders(1)", "--call", f"{shop.__name__}:top('toys')"
    )
    assert [order(1), order(2)] == [[1], []]
    assert again(shop) == [("toys", 1)]
    ask(capsys, "invalidate", "customer:2", "--cache", f"{shop.__name__}:cache")
    assert [order(1), order(2)] == [[], [2]]


def test_processes_hear_of_it(where: list[str], redis_url: str, prefix: str) -> None:
    """What a server has in its own memory is dropped there, too."""
    backend = RedisBackend.from_url(redis_url, prefix=prefix, timeout=30, connect_timeout=30)
    cache = Cache(backend, local_entries=100, local_ttl=600)

    @cache.query(ttl=600, reads=["products"])
    def top() -> int:
        return 1

    def is_local() -> bool:
        before = cache.stats().local_hits
        top()
        return cache.stats().local_hits > before

    wait_until(is_local, what="the result is in this process's memory")
    computes = cache.stats().computes
    assert main(["cache", "invalidate", "products", *where]) == 0

    def is_anew() -> bool:
        top()
        return cache.stats().computes > computes

    wait_until(is_anew, what="this process has heard of it")
    cache.close_sync()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["stats"], 2, "Give --redis URL, or set REDIS_URL, or give --cache module:cache"),
        (["stats", "--cache", "a:b", "--prefix", "x"], 2, "leave out --redis and --prefix"),
        (["stats", "--redis", "redis://u:hunter2@127.0.0.1:1"], 1, "127.0.0.1:1"),
        (["invalidate"], 2, "what? Give tables and tags, or --call CALL, or --everything"),
        (["invalidate", "products", "--everything"], 2, "only one of these at a time: give tables"),
        (["invalidate", "--call", "a:b()", "--redis", "redis://u:hunter2@x"], 2, "knows its cache"),
        (["invalidate", "--call", "a:b"], 2, "'a:b' is no call; write it as 'module:function(1, name="),
        (["invalidate", "--call", "a:b(1); evil()"], 2, "is no call"),
        (["invalidate", "--call", "a:b(open('x'))"], 2, "open('x') is no literal"),
        (["invalidate", "--call", "a:b(**{})"], 2, "** is not understood"),
        (["invalidate", "--call", "SHOP:plain()"], 2, "no cached function but a function; there is SHOP:top"),
        (["invalidate", "--call", "SHOP:top(1, 2, 3)"], 2, "SHOP:top is not called so: "),
        (["invalidate", "--call", "SHOP:top(page=2)"], 2, "SHOP:top is not called so: "),
        (["invalidate", "x", "--cache", "SHOP:memory"], 2, "in the memory of each process"),
        (["invalidate", "x", "--cache", "SHOP:top"], 2, "is no cache but a function; there is SHOP:cache"),
    ],
)  # fmt: skip
def test_mistakes(
    shop: ModuleType, arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A mistake is 2 and names its cure, a server that is away is 1; no message has a password."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    capsys.readouterr()
    assert main(["cache", *[text.replace("SHOP", shop.__name__) for text in arguments]]) == status
    output, errors = capsys.readouterr()
    assert words in errors.replace(shop.__name__, "SHOP")
    assert "hunter2" not in errors
    assert (output, errors.count("\n")) == ("", 1)
    assert again(shop) == []


def test_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is said after all tries is what was wrong, and not that a circuit breaker, of which people know
    nothing, has opened meanwhile."""
    monkeypatch.setattr("scalekit.cli.cache_invalidate.PATIENCE", 1.0)
    assert main(["cache", "invalidate", "products", "--redis", "redis://127.0.0.1:1"]) == 1
    assert "refused" in capsys.readouterr().err.lower()


@pytest.mark.slow
@pytest.mark.parametrize("command", [["stats"], ["invalidate", "products"]], ids=" ".join)
def test_stopped(command: list[str]) -> None:
    """Ctrl-C while the server is silent ends it at once, without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        process = start("cache", *command, "--redis", url)
        try:
            silent.settimeout(60)
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                process.send_signal(signal.SIGINT)
                output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert (process.returncode, output, errors) == (130, "", "")
