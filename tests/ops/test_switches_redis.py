"""The switches, in a real Redis that comes and goes, and in several processes."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

pytest.importorskip("redis")

import redis
import redis.asyncio

from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend
from scalekit.errors import BackendError, ConfigurationError, WrongColour
from scalekit.ops.asgi import ReadOnlyMiddleware
from scalekit.ops.switches import Switches
from tests.measured import numbers
from tests.ops.test_read_only import hello
from tests.patience import patient_links
from tests.servers import RedisServer
from tests.servers.redis_cluster import RedisCluster
from tests.servers.waiting import wait_until

LOG = "scalekit.ops"


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Redis has no turn on a busy machine, and is not away for that."""
    with patient_links():
        yield


@pytest.fixture
def switches(redis_url: str, prefix: str) -> Iterator[Switches]:
    made = Switches.from_url(redis_url, name=prefix, interval=0.02)
    yield made
    made.close()


@pytest.fixture
def other(redis_url: str, prefix: str) -> Iterator[Switches]:
    """Those of another server."""
    made = Switches.from_url(redis_url, name=prefix, interval=0.02)
    yield made
    made.close()


def test_all_servers_follow(switches: Switches, other: Switches) -> None:
    """What is flipped on one server is in force on another one soon, and at once on its own."""
    assert not other.is_read_only()
    assert other.cache_factor() == 1.0
    switches.set_read_only(True)
    switches.set_cache_factor(4)
    assert switches.is_read_only()
    assert switches.cache_factor() == 4.0
    wait_until(other.is_read_only, what="read-only on the other server")
    wait_until(lambda: other.cache_factor() == 4.0, what="the factor on the other server")
    assert other.read_only_left() is None
    switches.set_read_only(False)
    switches.set_cache_factor(1)
    wait_until(lambda: not other.is_read_only() and other.cache_factor() == 1.0, what="both off")
    assert switches.look() == {}


def test_another_process_follows(redis_url: str, prefix: str, switches: Switches) -> None:
    """A server in a process of its own follows, and so does a child that it forks."""
    program = (
        "import os, sys, time\n"
        "from scalekit.ops.switches import Switches\n"
        "switches = Switches.from_url(sys.argv[1], name=sys.argv[2], interval=0.02)\n"
        "assert switches.start(10) and not switches.is_read_only()\n"
        "print('looked', flush=True)\n"
        "child = os.fork() == 0\n"
        "while not switches.is_read_only(): time.sleep(0.01)\n"
        "print('followed', flush=True)\n"
        "os._exit(0) if child else os.wait()\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, redis_url, prefix],
        stdout=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "looked\n"
        switches.set_read_only(True)
        assert [process.stdout.readline() for _ in range(2)] == ["followed\n"] * 2
    assert process.returncode == 0


def test_they_report(switches: Switches) -> None:
    """How this process sees them; to be asked for numbers makes it look at nothing."""
    assert numbers(switches) == {"scalekit_switch_read_only": 0, "scalekit_switch_cache_factor": 1}
    assert switches._thread is None
    switches.set_read_only(True)
    switches.set_cache_factor(4)
    assert numbers(switches) == {"scalekit_switch_read_only": 1, "scalekit_switch_cache_factor": 4}


def test_a_look_that_is_overtaken(switches: Switches, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is flipped is in force at once, though the thread that looks has asked before and hears later."""
    ask, asked, flipped = switches._ask, threading.Event(), threading.Event()

    def slowly() -> Any:
        answers = ask()
        if threading.current_thread() is thread:
            asked.set()
            assert flipped.wait(60)
        return answers

    monkeypatch.setattr(switches, "_ask", slowly)
    thread = threading.Thread(target=switches.look)
    thread.start()
    assert asked.wait(60)
    switches.set_read_only(True)
    flipped.set()
    thread.join(60)
    assert numbers(switches)["scalekit_switch_read_only"] == 1


def test_for_a_time(switches: Switches) -> None:
    """A switch that is flipped for a time goes back by itself, and says how long it takes."""
    switches.set_read_only(True, lasting=60)
    left = switches.read_only_left()
    assert left is not None
    assert 0 < left <= 60
    switches.set_read_only(True, lasting=0.2)
    wait_until(lambda: not switches.is_read_only(), what="the end of the mode")
    assert switches.read_only_left() is None


def test_redis_goes_away_and_comes_back(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """Meanwhile all stays as it was seen, but for what ends by itself; the log says both, once each."""
    caplog.set_level(logging.INFO, LOG)
    with RedisServer() as server:
        switches = Switches.from_url(server.url, name=prefix, interval=0.02, timeout=30, cooldown=0.05)
        assert switches.start(30)
        switches.set_cache_factor(3)
        switches.set_read_only(True, lasting=1.0)
        server.kill()
        wait_until(lambda: "stay as they were seen last" in caplog.text, what="the log of the outage")
        assert switches.cache_factor() == 3.0
        wait_until(lambda: not switches.is_read_only(), what="the end of the mode")
        assert switches.cache_factor() == 3.0
        with pytest.raises(BackendError):
            switches.set_read_only(True)
        server.start()  # with nothing in it
        wait_until(lambda: switches.cache_factor() == 1.0, what="a look at the new server")
        wait_until(lambda: "answers again" in caplog.text, what="the log of the recovery")
        switches.close()
    said = [record.getMessage() for record in caplog.records if record.name == LOG]
    assert sum("seen last" in line for line in said) == 1
    assert sum("answers again" in line for line in said) == 1
    assert "switches: cache-factor is 3" in said


async def test_a_server_that_starts_in_the_mode(switches: Switches, other: Switches) -> None:
    """The first request waits for the first look: a new server takes no write that the others refuse."""
    switches.set_read_only(True)
    app: Any = ReadOnlyMiddleware(hello, switches=other)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as http:
        assert (await http.post("/cart")).status_code == 503
        assert (await http.get("/cart")).status_code == 200


async def test_a_server_that_never_sees_redis(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """It takes writes: an outage of Redis does not close the shop."""
    with RedisServer() as server:
        url = server.url
    switches = Switches.from_url(url, name=prefix)
    app: Any = ReadOnlyMiddleware(hello, switches=switches)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as http:
        assert (await http.post("/cart")).status_code == 200
    switches.close()
    assert "seen last" in caplog.text


def test_a_look_that_fails_is_not_the_last(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """A provider of passwords, which is the application's, may raise anything; what it says is not logged."""

    class Provider(redis.CredentialProvider):
        away = True

        def get_credentials(self) -> tuple[str]:
            if self.away:
                raise LookupError("hunter2")
            return ("secret",)

    provider = Provider()
    with RedisServer(password="secret") as server:
        client = redis.Redis(host=server.host, port=server.port, credential_provider=provider)
        switches = Switches(client, name=prefix, interval=0.02)
        assert switches.start(wait=30)
        provider.away = False
        wait_until(lambda: "Redis answers again" in caplog.text, what="another look")
        switches.set_read_only(True)
        assert switches.is_read_only()
        switches.close()
    assert "LookupError" in caplog.text
    assert "hunter2" not in caplog.text


def test_results_are_cached_for_longer(switches: Switches) -> None:
    """A result that is stored while the factor is up is served that much longer than its ttl."""
    cache = Cache(MemoryBackend(), ttl_factor=switches.cache_factor)
    runs = []

    @cache.query(ttl=0.1, jitter=0, tags=["t"])
    def answer(key: str) -> int:
        runs.append(key)
        return len(runs)

    switches.set_cache_factor(1000)
    assert answer("stretched") == 1
    switches.set_cache_factor(1)
    assert answer("plain") == 2
    time.sleep(0.15)  # more than the ttl; the other result has 100 s
    assert answer("plain") == 3
    assert answer("stretched") == 1


def test_what_is_no_value(
    switches: Switches, redis_url: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever else is written to the key of a switch leaves that one as it was seen last. The log says so
    once, and not what was written."""
    client = redis.Redis.from_url(redis_url)
    switches.set_cache_factor(4)
    switches.set_read_only(True)
    for raw in ("", "often", "nan", "-1", "0", "1e9", "\xff"):
        client.set(f"{{{prefix}}}:cache-factor", raw)
        client.set(
            f"{{{prefix}}}:read-only", raw.replace("-1", "on").replace("0", "off").replace("1e9", "inf")
        )
        assert {name: switch.value for name, switch in switches.look().items()} == {
            "read-only": 1.0, "cache-factor": 4.0,
        }  # fmt: skip
        assert set(switches.unread) == {"read-only", "cache-factor"}
    said = [line for line in caplog.messages if "no value" in line]
    assert len(said) == 2
    assert "often" not in caplog.text
    client.set(f"{{{prefix}}}:read-only", "0")
    client.delete(f"{{{prefix}}}:cache-factor")
    assert switches.look() == switches.unread == {}
    assert sum("can be read again" in line for line in caplog.messages) == 2
    client.close()


@pytest.mark.parametrize("on", [True, False])
def test_a_key_of_another_type(
    switches: Switches,
    other: Switches,
    redis_url: str,
    prefix: str,
    caplog: pytest.LogCaptureFixture,
    on: bool,
) -> None:
    """Read-only mode stays as it was seen last while a list is kept under its name, be it on or off; the
    other switch is followed on, and so is this one as soon as it is flipped."""
    client = redis.Redis.from_url(redis_url)
    switches.set_read_only(on)
    assert other.start(30)
    assert other.is_read_only() is on
    with client.pipeline(transaction=True) as both:  # or the other server may see it off in between
        both.delete(f"{{{prefix}}}:read-only").lpush(f"{{{prefix}}}:read-only", "not", "text")
        both.execute()
    switches.set_cache_factor(4)
    wait_until(lambda: other.cache_factor() == 4.0, what="the factor on the other server")
    wait_until(lambda: "read-only" in other.unread, what="a look at the list")
    switches.set_cache_factor(2)
    wait_until(lambda: other.cache_factor() == 2.0, what="the factor on the other server, once more")
    assert switches.is_read_only() is other.is_read_only() is on
    assert sum("WRONGTYPE" in line for line in caplog.messages) == 2  # each of the two servers once
    switches.set_read_only(not on)
    wait_until(lambda: other.is_read_only() is not on, what="the flip on the other server")
    assert other.unread == {}
    client.close()


def test_a_mode_that_ends_while_its_key_is_no_value(switches: Switches, redis_url: str, prefix: str) -> None:
    """What was flipped for a time goes back at its end, whatever its key holds by then."""
    assert switches.start(30)
    switches.set_read_only(True, lasting=0.3)
    client = redis.Redis.from_url(redis_url)
    client.set(f"{{{prefix}}}:read-only", "rubbish")
    wait_until(lambda: "read-only" in switches.unread, what="a look at it")
    wait_until(lambda: not switches.is_read_only(), what="the end of the mode")
    assert switches.look() == {}
    client.close()


def test_both_keys_of_another_type(switches: Switches, redis_url: str, prefix: str) -> None:
    """Who asks is told that Redis refuses; both stay as they are."""
    client = redis.Redis.from_url(redis_url)
    switches.set_read_only(True)
    for name in ("read-only", "cache-factor"):
        client.delete(f"{{{prefix}}}:{name}")
        client.lpush(f"{{{prefix}}}:{name}", "not", "text")
    with pytest.raises(BackendError, match="refused: WRONGTYPE"):
        switches.look()
    assert switches.is_read_only()
    client.close()


@pytest.mark.parametrize("factor", [0, -1, 1001, float("nan"), float("inf"), "4", True, None])
def test_factors_that_are_none(switches: Switches, factor: Any) -> None:
    """A factor out of range is refused, and nothing is flipped."""
    with pytest.raises(ConfigurationError, match=r"factor=.*1000 at most"):
        switches.set_cache_factor(factor)
    assert switches.look() == {}


def test_mistakes_at_start_up(redis_url: str) -> None:
    """An asynchronous client, an option that is none and an interval of 0 are told at once."""
    with pytest.raises(WrongColour):
        Switches(redis.asyncio.Redis())
    with pytest.raises(ConfigurationError, match="interval"):
        Switches.from_url(redis_url, interval=0)
    with pytest.raises(ConfigurationError, match="did you mean timeout="):
        Switches.from_url(redis_url, time_out=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="name="):
        Switches.from_url(redis_url, name="")


@pytest.mark.slow
def test_a_cluster(redis_cluster: RedisCluster, prefix: str) -> None:
    """On a Redis Cluster both are kept in one place."""
    switches = Switches.from_url(redis_cluster.url, name=prefix)
    switches.set_read_only(True, lasting=60)
    switches.set_cache_factor(2)
    assert set(switches.look()) == {"read-only", "cache-factor"}
    switches.close()
