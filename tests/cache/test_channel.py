"""The channel in Redis: what is said is heard, in its order and whole, or the channel is lost."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis.asyncio

from scalekit._redis import Redis
from scalekit._steps import Steps, run, run_async
from scalekit.cache.channel import Cursor, Lost, Message, follow
from scalekit.cache.redis import RedisBackend
from scalekit.cache.redis_channel import RedisChannel
from scalekit.cache.redis_foreign import Told
from scalekit.cache.redis_scripts import TELL
from scalekit.errors import BackendUnavailable
from tests.servers import RedisCluster, RedisServer

Call = Callable[..., Any]
PATIENT: Any = {"timeout": 30, "connect_timeout": 30}


@pytest.fixture
def stream(prefix: str) -> str:
    return prefix + "m"


@pytest.fixture
def channel(redis_url: str, stream: str) -> Iterator[RedisChannel]:
    made = RedisChannel(Redis.from_url(redis_url), told=Told("redis", stream=stream), block=10)
    yield made
    made.close()


@pytest.fixture
def say(redis_url: str, stream: str) -> Iterator[Call]:
    commands = Redis.from_url(redis_url, **PATIENT).using("sync")
    yield lambda *words: commands.script(TELL, [stream], words)
    commands.close()


def test_what_is_said_is_heard(channel: RedisChannel, say: Call) -> None:
    """16. Tags and keys of each message, numbered one after the other, from the position on; then silence."""
    say("t", "before")
    start = run(channel.position())
    say("t", "product", "k", "f:1", "t", "naïve tag")
    say("g", "1")
    say()
    heard = run(channel.next(start, block=10))
    first = start.number + 1
    assert heard.messages == [
        Message(first, keys=("f:1",), tags=("product", "naïve tag")),
        Message(first + 1, everything=True),
        Message(first + 2),
    ]
    assert heard.complete
    silence = run(channel.next(heard.cursor, block=0.001))
    assert (silence.cursor, silence.messages, silence.complete) == (heard.cursor, (), True)


def test_the_rest_of_many_is_not_forgotten(channel: RedisChannel, say: Call) -> None:
    """16. More than fit into one answer: it does not count as complete, and the next one has the rest."""
    cursor = run(channel.position())
    for number in range(130):
        say("t", str(number))
    tags: list[str] = []
    complete = []
    while len(tags) < 130:
        heard = run(channel.next(cursor, block=10))
        tags += [message.tags[0] for message in heard.messages]
        cursor = heard.cursor
        complete.append(heard.complete)
    assert tags == [str(number) for number in range(130)]
    assert complete == [False, True]


def test_a_trimmed_stream_is_lost(
    channel: RedisChannel, say: Call, redis_server: RedisServer, stream: str
) -> None:
    """16. Who is so far behind that messages have been trimmed away has lost the channel; who has heard them
    has not."""
    behind = run(channel.position())
    say("t", "a")
    abreast = run(channel.next(behind, block=10)).cursor
    say("t", "b")
    redis_server.call("XTRIM", stream, "MAXLEN", 1)
    assert run(channel.next(abreast, block=10)).messages == [Message(abreast.number + 1, tags=("b",))]
    with pytest.raises(Lost):
        run(channel.next(behind, block=10))


def test_a_deleted_stream_is_lost(
    channel: RedisChannel, say: Call, redis_server: RedisServer, stream: str
) -> None:
    """16. Deleted or evicted: noticed in the silence, and also if somebody speaks before that."""
    cursor = run(channel.position())
    redis_server.call("DEL", stream)
    with pytest.raises(Lost):
        run(channel.next(cursor, block=0.001))
    say("t", "a")
    with pytest.raises(Lost):
        run(channel.next(cursor, block=10))
    again = run(channel.position())
    assert run(channel.next(again, block=0.001)).complete


@pytest.mark.parametrize(("milliseconds", "number"), [(-5, 0), (-5, -1), (-5, 1), (0, 1)])
def test_an_older_stream_is_lost(
    channel: RedisChannel, redis_server: RedisServer, stream: str, milliseconds: int, number: int
) -> None:
    """16. After a failover that has lost the last messages, to a server whose clock is behind: its stream
    says nothing that comes after what was heard, and is another one."""
    heard = run(channel.position())
    then, _ = heard.id.split(b"-")
    redis_server.call("DEL", stream)
    id = f"{int(then) + milliseconds}-0" if milliseconds else heard.id.decode()
    redis_server.call("XADD", stream, id, "n", heard.number + number)
    with pytest.raises(Lost):
        run(channel.next(heard, block=0.001))


def test_numbers_follow_one_another() -> None:
    """16. A gap is a loss, and so is a number that has been."""
    start = Cursor(b"1-0", 7)
    assert follow(start, []) == start
    assert follow(start, [(b"2-0", Message(8)), (b"3-0", Message(9))]) == Cursor(b"3-0", 9)
    for number in (7, 9):
        with pytest.raises(Lost):
            follow(start, [(b"2-0", Message(number))])


@pytest.mark.parametrize("fields", ["'x', '1'", "'n', 'one'", "'n', '-1'", r"'n', '1', 't', '\255'"])
def test_another_ones_stream_is_refused(
    channel: RedisChannel, redis_server: RedisServer, stream: str, fields: str
) -> None:
    """16. Entries that no version of ours has written are an error, never a message."""
    redis_server.call("EVAL", f"redis.call('XADD', KEYS[1], '*', {fields})", 1, stream)
    with pytest.raises(BackendUnavailable):
        run(channel.position())


def test_a_word_of_a_later_version_drops_everything(channel: RedisChannel, say: Call) -> None:
    """16. What we do not know may be anything: in a fleet that is being updated."""
    cursor = run(channel.position())
    say("t", "a", "z", "?")
    assert run(channel.next(cursor, block=10)).messages[0].everything


def test_a_refusal_names_no_secret(stream: str) -> None:
    """16. A key of another type, a user who may not: the error says where, without the password."""
    with RedisServer(password="s3cret") as server:
        channel = RedisChannel(Redis.from_url(server.url), told=Told("redis", stream=stream), block=1.0)
        server.call("SET", stream, "x")
        with pytest.raises(BackendUnavailable, match="WRONGTYPE") as refused:
            run(channel.next(Cursor(b"0-1", 1), block=1))
        assert "s3cret" not in str(refused.value) + channel.name
        assert str(server.port) in channel.name
        channel.close()


def _drive(channel: RedisChannel, steps: Steps[Any]) -> Any:
    return run_async(steps) if channel.colour == "async" else asyncio.to_thread(run, steps)


@pytest.mark.parametrize("kind", ["sync", "async", "cluster"])
async def test_every_kind_of_link_hears(
    kind: str, redis_url: str, stream: str, request: pytest.FixtureRequest
) -> None:
    """16. A client of either colour, and a Cluster: who waits is woken by what is said."""
    cluster: RedisCluster | None = request.getfixturevalue("redis_cluster") if kind == "cluster" else None
    url = cluster.url if cluster else redis_url
    link = Redis(redis.asyncio.from_url(url)) if kind == "async" else Redis.from_url(url, **PATIENT)
    channel = RedisChannel(link, told=Told("redis", stream=stream), block=10)
    assert channel.colour == ("async" if kind == "async" else "sync")
    async with asyncio.timeout(30):
        cursor = await _drive(channel, channel.position())
        waiting = asyncio.ensure_future(_drive(channel, channel.next(cursor, block=10)))
        await link.using("async").script(TELL, [stream], ["t", "a"])
        heard = await waiting
    assert [message.tags for message in heard.messages] == [("a",)]
    closing = channel.close()
    if closing is not None:
        await closing
    await link.using("async").close()


async def test_a_generation_of_a_cluster_is_told_by_whoever_finds_it_young(
    redis_cluster: RedisCluster, prefix: str
) -> None:
    """6. On a cluster it is renewed on one node and told on another. Whoever renewed it may not have come to
    tell, so the next one does, though there is nothing left to renew."""
    backend = RedisBackend.from_url(redis_cluster.url, prefix=prefix)
    entries = backend.using("async")
    url = redis_cluster.url.replace("redis+cluster", "redis")
    async with redis.asyncio.RedisCluster.from_url(url) as client:
        for told in (1, 2):
            await run_async(entries.renew_generation(older_than=600))
            assert await client.xlen(prefix + "m") == told
    await entries.close()
