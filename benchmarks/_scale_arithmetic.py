"""From what one request costs to what 100,000 a second take: the table of ``docs/howto/scale.md``.

What is counted is counted by tests as well (``tests/benchmarks/test_scale.py``), what is measured comes from
``bench_scale_processes`` and ``bench_scale_sessions``, and what is assumed stands in :class:`Shop`, for the
reader to replace.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks._scale_series import markdown
from scalekit.cache.listening import block_of

RATES = (1_000, 10_000, 100_000)

# Round trips, which are commands of Redis too: a script is one.
READ = 1
CHANGE = 2
HIT = 1
MISS = 3
COMMIT = 2

CONNECTIONS = 5
"""To Redis, of a process: two for sessions, two for the cache, and one on which it hears what was dropped."""

QUESTIONS = 1 / block_of(1.0)
"""A second, of a process, on that connection, when nothing is said."""

POOL, OVERFLOW = 5, 10
"""Connections of a process to each database: SQLAlchemy's defaults."""

PROBES = 1 / 0.5
"""A second, of a process, to each database: ``probe_interval``."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What is assumed of an application and its visitors.

    Args:
        own: seconds of Python that a request takes beside the pieces.
        busy: how busy a processor is to be, as a share.
        changes: share of requests that change their session.
        unseen: share that are the first of their session in their process.
        lookups: cached results that a request asks for.
        near: share of those that are in the process.
        misses: share of the others that are nowhere.
        transactions: of the database, a request: misses, and what is not cached.
        held: seconds that each of them takes.
        commits: share of requests that commit what drops a tag.
        assets: files of a page.
        at_cdn: share of them that the CDN has.
        mean: requests a second over a week, as a share of those at the peak.
        visits: requests of a visitor in the week for which a session lives.
    """

    own: float = 0.005
    busy: float = 0.6
    changes: float = 0.1
    unseen: float = 0.2
    lookups: float = 3
    near: float = 0.8
    misses: float = 0.02
    transactions: float = 0.2
    held: float = 0.005
    commits: float = 0.01
    assets: float = 20
    at_cdn: float = 0.99
    mean: float = 0.1
    visits: float = 100


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Microseconds of the process and of Redis, and bytes from Redis, of one request.

    Args:
        known: reads a session that the process has seen.
        unseen: reads one that it has not.
        change: reads and changes one.
        hit: finds one result in Redis.
        told: bytes of a drop, to each process.
        session: bytes of Redis's memory for a session.
    """

    known: tuple[float, float, float]
    unseen: tuple[float, float, float]
    change: tuple[float, float, float]
    hit: tuple[float, float, float]
    told: float
    session: float

    @classmethod
    def of(cls, costs: Sequence[Sequence[float | str]], told: float, session: float) -> "Measured":
        """From the rows of the series ``costs``: what a request costs more than a bare one."""
        found = {str(path): (process, redis, back) for path, process, redis, _, back in costs}
        bare = found["/bare"]

        def more(path: str) -> tuple[float, float, float]:
            process, redis, back = (
                float(cell) - float(base) for cell, base in zip(found[path], bare, strict=True)
            )
            return process, redis, back

        return cls(
            known=more("/read"),
            unseen=more("/unseen"),
            change=more("/modify"),
            hit=more("/cached"),
            told=told,
            session=session,
        )


def rows(measured: Measured, shop: Shop = Shop()) -> list[list[float | str]]:
    """What these rates take, a line for each thing that could run out."""
    reads = 1 - shop.changes
    session = [
        shop.changes * change + reads * (shop.unseen * unseen + (1 - shop.unseen) * known)
        for known, unseen, change in zip(measured.known, measured.unseen, measured.change, strict=True)
    ]
    lookups = shop.lookups * (1 - shop.near)
    cache = [lookups * each for each in measured.hit]
    ours = (session[0] + cache[0]) / 1e6  # seconds
    table: dict[str, list[float]] = {}

    def line(name: str, value: float) -> None:
        table.setdefault(name, []).append(float(f"{value:.2g}"))

    for rate in RATES:
        processes = max(1.0, rate * (shop.own + ours) / shop.busy)
        line("processes of the application", processes)
        line("of these, for scalekit", processes * ours / (shop.own + ours))
        line("sessions: commands/s", rate * (reads * READ + shop.changes * CHANGE))
        line("sessions: processors of Redis", rate * session[1] / 1e6)
        line("sessions: MB/s from Redis", rate * session[2] / 1e6)
        live = rate * shop.mean * 7 * 24 * 3600 / shop.visits
        line("sessions alive, millions", live / 1e6)
        line("sessions: GB of Redis", live * measured.session / 1e9)
        line(
            "cache: commands/s", rate * (lookups * (HIT + shop.misses * (MISS - HIT)) + shop.commits * COMMIT)
        )
        line("cache: processors of Redis", rate * cache[1] / 1e6)
        line("cache: MB/s from Redis", rate * cache[2] / 1e6)
        line("cache: messages/s of drops, to all processes", rate * shop.commits * processes)
        line("cache: MB/s of these", rate * shop.commits * processes * measured.told / 1e6)
        line("cache: questions/s when nothing is dropped", processes * QUESTIONS)
        line("connections to Redis", processes * CONNECTIONS)
        line("database: transactions/s", rate * shop.transactions)
        line("database: connections at work", rate * shop.transactions * shop.held)
        line("database: connections open, to each server", processes * POOL)
        line("database: the most that may be", processes * (POOL + OVERFLOW))
        line("database: probes/s, of each server", processes * PROBES)
        line("CDN: requests/s", rate * shop.assets)
        line("of these, at the origin", rate * shop.assets * (1 - shop.at_cdn))
    return [[name, *values] for name, values in table.items()]


def table(measured: Measured, shop: Shop = Shop()) -> str:
    """In Markdown."""
    return markdown(["requests/s", *(f"{rate:,}" for rate in RATES)], rows(measured, shop))
