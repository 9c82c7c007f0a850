"""A server that answers RedisStore's scripts with what they never give. Both colours."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from scalekit.errors import BackendUnavailable
from scalekit.sessions.redis import RedisStore
from tests.faults.scripted import scripted

ID = "ab" * 32

MALFORMED = [
    pytest.param(b"*3\r\n:1\r\n:2\r\n:3\r\n", id="numbers"),
    pytest.param(b"*2\r\n-ERR in\r\n:2\r\n", id="an error in it"),
    pytest.param(b"*2\r\n*1\r\n:1\r\n+a\r\n", id="a list in it"),
    pytest.param(b"*4\r\n+a\r\n-ERR in\r\n+b\r\n+c\r\n", id="an error for a value"),
    pytest.param(b":12\r\n", id="a number"),
    pytest.param(b"+OK\r\n", id="a status"),
]


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> Any:
    return request.param


async def result(answer: Any) -> Any:
    return await answer if asyncio.isfuture(answer) or asyncio.iscoroutine(answer) else answer


@pytest.mark.parametrize("data", MALFORMED)
@pytest.mark.parametrize("command", [b"EVAL", b"HGETALL"])
async def test_what_is_no_session_is_none(colour: Any, command: bytes, data: bytes) -> None:
    """14. ``load`` and ``destroy`` give ``None``, whether by script or by HGETALL."""
    moment = b"9" * 15
    session = (
        b"*6\r\n$8\r\n\0created\r\n$1\r\n1\r\n$9\r\n\0deadline\r\n$15\r\n%b\r\n+\0age\r\n:0\r\n" % moment
    )
    answers = iter([session, data, data] if command == b"HGETALL" else [data, data])
    with scripted(lambda sock: sock.sendall(next(answers)), to=ID.encode()) as server:
        store: Any = RedisStore.from_url(server.url, timeout=10).using(colour)
        if command == b"HGETALL":
            assert (await result(store.load(ID, idle=10**6, step=10**4))).created == 1
        assert await result(store.load(ID, idle=10**6, step=10**4)) is None
        if command == b"EVAL":
            assert await result(store.destroy(ID, grace=1)) is None
        await result(store._commands.close())


CALLS: dict[str, Callable[[Any], Any]] = {
    "create": lambda store: store.create(ID, fields={}, user=None, idle=10, lifetime=10),
    "save": lambda store: store.save(ID, changed={}, removed=(), idle=10),
    "swap": lambda store: store.swap(ID, b"n", expected=None, value=b"v", idle=10),
    "listed": lambda store: store.listed(b"u"),
}


@pytest.mark.parametrize(
    ("call", "data"),
    [
        *(("create", data) for data in (b":1\r\n", b"+OK\r\n", b"*0\r\n", b"*2\r\n-ERR in\r\n:2\r\n")),
        *(("save", data) for data in (b"+OK\r\n", b"*1\r\n:1\r\n")),
        *(
            ("swap", data)
            for data in (b":1\r\n", b"*0\r\n", b"*2\r\n:0\r\n:7\r\n", b"*2\r\n:0\r\n-ERR in\r\n")
        ),
        *(("swap", data) for data in (b"+OK\r\n", b"*3\r\n:0\r\n+a\r\n+b\r\n", b"*1\r\n-ERR in\r\n")),
        *(
            ("listed", data)
            for data in (b":1\r\n", b"+OK\r\n", b"$-1\r\n", b"*1\r\n:1\r\n", b"*1\r\n-ERR\r\n")
        ),
    ],
)
async def test_what_no_script_gives_makes_the_store_unavailable(colour: Any, call: str, data: bytes) -> None:
    """14. Creating, saving, swapping and listing tell it as an outage, not as an error of the program's."""
    with scripted(lambda sock: sock.sendall(data), to=b"EVAL") as server:
        store: Any = RedisStore.from_url(server.url, timeout=10).using(colour)
        with pytest.raises(BackendUnavailable, match="of another shape"):
            await result(CALLS[call](store))
        await result(store._commands.close())
