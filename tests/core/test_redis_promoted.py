"""What is made of each Sentinel's word: a fake one says what a real one says for a moment only."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis.asyncio.sentinel
import redis.sentinel

from scalekit._redis import clients
from scalekit._redis.clients import Given
from scalekit._steps import Steps, run, run_async
from tests.servers.ports import HOST

OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6380)
UP, PLANNED = "master", "master,failover_in_progress"
DOWN, LEADING = "s_down,o_down,master", "s_down,o_down,master,failover_in_progress"


@dataclass
class Sentinel:
    """What it says of ``service``, and what it was asked."""

    flags: str = UP
    named: tuple[str, int] | None = OLD
    others: int = 2
    service: str = "service"
    raw: bytes = b""  # instead of an answer
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def answer(self, words: list[str]) -> bytes:
        if words[0] != "SENTINEL":
            return b"+OK\r\n"
        self.asked.append(words[1])
        if self.raw:
            return self.raw
        if words[1] == "MASTERS":
            state: dict[str, object] = {
                "name": self.service,
                "ip": OLD[0],
                "port": OLD[1],
                "flags": self.flags,
            }
            state["num-other-sentinels"] = self.others
            return b"*1\r\n" + bulks([part for pair in state.items() for part in pair])
        assert words[1:] == ["GET-MASTER-ADDR-BY-NAME", "service"]
        return b"*-1\r\n" if self.named is None else bulks(self.named)


def bulks(parts: Any) -> bytes:
    texts = [str(part).encode() for part in parts]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in texts)


class Handler(socketserver.StreamRequestHandler):
    said: Sentinel

    def handle(self) -> None:
        while head := self.rfile.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].decode())
            self.wfile.write(self.said.answer(words))


@contextmanager
def serving(*sentinels: Sentinel) -> Iterator[list[tuple[str, int]]]:
    with ExitStack() as stack:
        for sentinel in sentinels:
            handler = type("Own", (Handler,), {"said": sentinel})
            server = stack.enter_context(socketserver.ThreadingTCPServer((HOST, 0), handler))
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            sentinel.port = server.server_address[1]
        yield [(HOST, sentinel.port) for sentinel in sentinels]


async def master(colour: str, places: list[tuple[str, int]], kind: Any = None, **options: Any) -> Any:
    """Where a link that is given a client of these Sentinels would send its commands."""
    module = redis.asyncio if colour == "async" else redis
    manager = (kind or module.sentinel.Sentinel)(places, **options)
    pool = Given(manager.master_for("service")).pool(colour)  # type: ignore[arg-type]

    def find() -> Steps[Any]:
        try:
            return (yield pool.get_master_address())
        except module.sentinel.MasterNotFoundError:
            return None
        finally:
            for each in clients.sentinels_of(pool):
                yield each.disconnect()

    return await run_async(find()) if colour == "async" else run(find())


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(
    ("flags", "named", "found", "asked"),
    [
        (UP, NEW, OLD, 1),  # nothing tells of a failover
        (LEADING, NEW, NEW, 2),
        (LEADING, OLD, None, 2),  # not promoted yet
        (DOWN, NEW, NEW, 2),
        (DOWN, OLD, None, 2),
        (DOWN, None, None, 2),
        (PLANNED, NEW, NEW, 2),
        (PLANNED, OLD, OLD, 2),
    ],
)
async def test_who_is_master(colour: str, flags: str, named: Any, found: Any, asked: int) -> None:
    """A server that is promoted is named at once, though the failover goes on; one that is down is not."""
    sentinel = Sentinel(flags, named)
    with serving(sentinel) as places:
        assert await master(colour, places) == found
    assert sentinel.asked == ["MASTERS", "GET-MASTER-ADDR-BY-NAME"][:asked]


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_the_next_one_is_asked(colour: str) -> None:
    """One that is gone, knows no such service, has lost the others or still names a dead master is passed
    over, and the one that leads the failover decides."""
    lost, other = Sentinel(UP, OLD, others=0), Sentinel(UP, OLD, service="another")
    behind, leading = Sentinel(DOWN, OLD), Sentinel(LEADING, NEW)
    with serving(Sentinel()) as gone:
        pass
    with serving(lost, other, behind, leading) as places:
        assert await master(colour, [*gone, *places], min_other_sentinels=1) == NEW
        assert await master(colour, places[:3], min_other_sentinels=1) is None


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(
    "raw",
    [
        b"-NOAUTH Authentication required.\r\n",
        b"-NOPERM User default has no permissions to run the 'sentinel|masters' command\r\n",
        b"-ERR unknown command 'SENTINEL'\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n",
        b"*-1\r\n",
        b"*1\r\n" + bulks(["name", "service"]),
        b"*1\r\n" + bulks(["flags", UP]),
        b"*1\r\n" + bulks(["name", "service", "flags", UP, "ip", "10.0.0.1", "port", "none"]),
    ],
)
async def test_one_of_no_use(colour: str, raw: bytes) -> None:
    """What answers at a Sentinel's address with an error, or is none: the next one is asked."""
    with serving(Sentinel(raw=raw), Sentinel()) as places:
        assert await master(colour, places) == OLD
        assert await master(colour, places[:1]) is None


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_client_with_a_way_of_its_own(colour: str) -> None:
    """A ``Sentinel`` that somebody has derived from redis-py's finds its master as it did."""
    base: Any = (redis.asyncio if colour == "async" else redis).sentinel.Sentinel

    class Own(base):  # type: ignore[misc]
        def discover_master(self, service: str) -> Any:
            async def later() -> Any:
                return NEW

            return later() if colour == "async" else NEW

    assert await master(colour, [(HOST, 1)], Own) == NEW


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_another_address_of_the_master(colour: str) -> None:
    """``force_master_ip`` stays, where the Sentinels' addresses are not those of the clients."""
    with serving(Sentinel(LEADING, NEW)) as places:
        assert await master(colour, places, force_master_ip="192.0.2.7") == ("192.0.2.7", NEW[1])
