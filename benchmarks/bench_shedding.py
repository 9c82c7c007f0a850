"""An overload: uvicorn with a handler that computes for 5 ms and waits for 50, and a crowd that does not wait
for answers, of 1x, 2x and 3x of what it can do.

Goodput is answers within a second; it is reported as the time between two of them, and the floor's columns as
a share of the capacity, which is what 32 visitors who do wait get. The p99 is of those who were let in, and
its floor that of the bare application at a tenth of the capacity. ``uvicorn --limit-concurrency``, which
counts connections, is given what is right for this very handler.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator

from benchmarks.harness import Result
from tests import plain
from tests.ops.child import wait_until
from tests.ops.fleet import uvicorn
from tests.ops.open_loop import Crowd, capacity, crowd
from tests.servers.ports import free_port

SECONDS = 20.0
FROM = 10.0  # what is measured begins here
WITHIN = 1.0
PATIENCE = 3.0
STATIC = 16

SERVERS: dict[str, tuple[str, ...]] = {
    "ours": (),
    "the bare application": (),
    f"uvicorn --limit-concurrency {STATIC}": ("--limit-concurrency", str(STATIC)),
}


@contextlib.contextmanager
def server(name: str) -> Iterator[int]:
    port = free_port()
    kind = "ours" if name == "ours" else "bare"
    options = ("--loop", "asyncio", "--no-access-log", *SERVERS[name])
    with uvicorn(port, *options, app="tests.ops.busy_app:app", KIND=kind, CPU="0.005", WAIT="0.05"):
        wait_until(lambda: plain.answers(f"http://127.0.0.1:{port}/health/live"), "uvicorn up")
        yield port


def results(case: str, of: dict[str, float], floor: float, *, rate: bool) -> list[Result]:
    """Microseconds of each, ours against each peer."""
    ours = of["ours"] * 1e6
    return [
        Result(
            piece="shedding",
            case=case,
            ours_us=round(ours),
            peer=name,
            peer_us=round(took * 1e6) if took < 1e6 else None,  # nobody was answered
            ratio=round(ours / (took * 1e6), 3),
            floor_us=round(floor * 1e6),
            rate=rate,
        )
        for name, took in of.items()
        if name != "ours"
    ]


async def overloaded(name: str, rate: float) -> Crowd:
    with server(name) as port:
        return await crowd(port, rate, SECONDS, patience=PATIENCE)


async def cases() -> AsyncIterator[list[Result]]:
    with server("the bare application") as port:
        most = await capacity(port, 5, at_once=32)
        alone = (await crowd(port, most / 10, 5)).percentile(0.99, 0, 5)
    for times in (1, 2, 3):
        between, p99 = {}, {}
        for name in SERVERS:
            outcome = await overloaded(name, times * most)
            goodput = outcome.goodput(FROM, SECONDS, within=WITHIN)
            between[name] = 1 / goodput if goodput else float("inf")
            p99[name] = outcome.percentile(0.99, FROM, SECONDS)
        yield results(f"between two answers at {times}x of {most:.0f}/s", between, 1 / most, rate=True)
        yield results(f"p99 of the answered at {times}x", p99, alone, rate=False)
