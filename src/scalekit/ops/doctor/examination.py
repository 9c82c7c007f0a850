"""The whole examination: what can be judged at once, and what servers have to be asked, all at the same time.

Rules:

* Nothing is changed. Servers are asked over connections of their own.
* It ends in time: who is asked has a thread, and what has not come back by the deadline does not answer.
* What cannot be looked at, because nobody has said it, is told in ``unchecked``.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from scalekit.errors import ScalekitError
from scalekit.ops.doctor import assets, bucket, database, django, process, redis, server, site, stack, state
from scalekit.ops.doctor.findings import Finding, masked, worst_first
from scalekit.ops.doctor.load import Loaded
from scalekit.ops.doctor.parts import Parts, take_apart

_DRAIN = "scalekit.ops.drain.Drain"
_ASKING = 3.0  # seconds for one answer, of which there are a few behind each other


@dataclass(frozen=True, kw_only=True, slots=True)
class Around:
    """What an application does not tell of where it runs; what is ``None`` is not looked at.

    Args:
        servers: how many there are at the most.
        command: starts one, such as ``"uvicorn shop:app --timeout-keep-alive 75"``.
        idle_timeout: seconds for which the balancer keeps idle connections.
        slowest: seconds that the slowest request takes.
        killed_after: seconds that the platform waits, after it told a server to stop, before it kills.
        url: of a page of the running site.
        origin: an address of the servers behind the CDN.
        timeout: seconds for everything that is asked, 15 by default.
    """

    servers: int | None = None
    command: str | None = None
    idle_timeout: float | None = None
    slowest: float | None = None
    killed_after: float | None = None
    url: str | None = None
    origin: str | None = None
    timeout: float = 15.0

    @property
    def patience(self) -> float:
        """Seconds for one answer."""
        return min(_ASKING, self.timeout / 3)


class Examination(NamedTuple):
    """What was found, the worst first; and what was not looked at, and what to say to have it looked at."""

    findings: list[Finding]
    unchecked: list[str]


class _Question(NamedTuple):
    """Something to ask: ``ask`` may block, and ``silent`` says what it means that there was no answer."""

    ask: Callable[[], Iterable[Finding]]
    silent: Callable[[str], Finding]


def examine(app: Loaded, *, also: Iterable[Loaded] = (), around: Around | None = None) -> Examination:
    """Look at an application, and ask the servers that it uses. Blocks, for ``around.timeout`` at most.

    Raises:
        ConfigurationError: it cannot be taken apart, or ``around`` is wrong.
    """
    around = around or Around()
    served = None if around.command is None else server.read(around.command)
    for option, url in (("--url", around.url), ("--origin", around.origin)):
        if url is not None:
            site.check_url(url, option=option)
    parts = take_apart(app, also)
    questions = list(_questions(parts, around, served))
    findings = [*_at_once(parts, around, served), *_ask_all(questions, around.timeout)]
    return Examination(worst_first(findings), list(_unchecked(parts, around)))


def _at_once(parts: Parts, around: Around, served: server.Server | None) -> Iterator[Finding]:
    yield from stack.judge(parts.layers, where=parts.name)
    hashed = assets.folders([thing for _, thing in parts.things])
    for way, thing in parts.things:
        yield from process.judge(thing, where=parts.where(way))
        yield from assets.judge(thing, hashed=hashed, where=parts.where(way))
    for where, storage in parts.of(bucket.DISK):
        kind = bucket.file_system(storage.directory)
        yield from bucket.judge_disk(storage.directory, kind, where=where)
    for function in parts.used:
        yield from state.judge(function)
    if parts.django:
        yield from django.judge()
    shielded = stack.has(parts.layers, stack.SHIELD) or around.origin is not None
    yield from assets.judge_shield(parts.layers, shielded=shielded, where=parts.name)
    drains = parts.of(_DRAIN)
    if not drains:
        yield server.missing(where=parts.name)
    for where, drain in drains:
        yield from server.judge_drain(
            drain.delay,
            drain.grace,
            slowest=around.slowest,
            killed_after=around.killed_after,
            server=served,
            where=where,
        )
    if served is not None and around.idle_timeout is not None:
        yield from server.judge_keep_alive(served, idle_timeout=around.idle_timeout, where="--command")


def _questions(parts: Parts, around: Around, served: server.Server | None) -> Iterator[_Question]:
    for where, link, use, waits_for in _links(parts):
        yield _Question(
            lambda link=link, use=use, where=where, waits_for=waits_for: _ask_redis(  # type: ignore[misc]
                link, use, where, waits_for, around.patience
            ),
            lambda reason, link=link, where=where: redis.unreachable(link.name, reason, where=where),  # type: ignore[misc]
        )
    workers = 1 if served is None else served.workers
    processes = None if around.servers is None else around.servers * workers
    for where, cluster in parts.of(*database.CLUSTERS):
        yield _Question(
            lambda cluster=cluster, where=where: _ask_database(cluster, processes, where, around.patience),  # type: ignore[misc]
            lambda reason, cluster=cluster, where=where: database.unreachable(  # type: ignore[misc]
                ", ".join(one.name for one in cluster.status().members), reason, where=where
            ),
        )
    origins = _origins(parts, around)
    for where, storage in parts.of(bucket.S3):
        yield _Question(
            lambda storage=storage, where=where: asyncio.run(_ask_bucket(storage, origins, where)),  # type: ignore[misc]
            lambda reason, storage=storage, where=where: bucket.unreachable(  # type: ignore[misc]
                storage.bucket, reason, where=where
            ),
        )
    if (url := around.url) is not None:
        yield _Question(
            lambda: site.judge_page(site.ask(url, timeout=around.patience, follow=True, checked=True)),
            lambda reason: site.unreachable(url, reason, option="--url"),
        )
    if (origin := around.origin) is not None:
        yield _Question(
            lambda: _ask_origin(origin, around.patience),
            lambda reason: site.unreachable(origin, reason, option="--origin"),
        )


def _links(parts: Parts) -> Iterator[tuple[str, Any, redis.Use, int]]:
    """Where something is kept in Redis, each server once for each use; and how many replicas must have it."""
    seen = set()
    for name, (use, attribute) in redis.STORES.items():
        for where, store in parts.of(name):
            link, confirm = getattr(store, attribute), getattr(store, "_confirm", None)
            one = (link.name, use, 0 if confirm is None else confirm.replicas)
            if one not in seen:
                seen.add(one)
                yield where, link, use, one[2]


def _uploads_directly(parts: Parts) -> bool:
    return bool(parts.of(bucket.DIRECT)) or parts.calls("presign_post", "presign_put")


def _origins(parts: Parts, around: Around) -> list[str]:
    """The origins of pages that upload straight to a bucket."""
    if around.url is None or not _uploads_directly(parts):
        return []
    url = urlsplit(around.url)
    return [f"{url.scheme}://{url.netloc}"]


def _ask_redis(link: Any, use: redis.Use, where: str, waits_for: int, patience: float) -> Iterator[Finding]:
    from scalekit._redis.facts import facts

    for one in facts(link, timeout=patience):
        yield from redis.judge(one, use=use, where=where, waits_for=waits_for)


def _ask_database(cluster: Any, processes: int | None, where: str, patience: float) -> Iterator[Finding]:
    from scalekit.database.examine import examine

    yield from database.judge(examine(cluster, patience=patience), processes=processes, where=where)


async def _ask_bucket(storage: Any, origins: list[str], where: str) -> list[Finding]:
    from scalekit.storage.bucket import examine

    async with storage:
        return list(bucket.judge(await examine(storage, origins=origins), where=where))


def _ask_origin(url: str, patience: float) -> Iterator[Finding]:
    try:
        answer = site.ask(url, timeout=patience, follow=False, checked=False)
    except OSError:
        return  # which is what a firewall is for
    yield from site.judge_origin(answer)


def _ask_all(questions: list[_Question], timeout: float) -> Iterator[Finding]:
    answers: list[list[Finding] | None] = [None] * len(questions)

    def ask(number: int, question: _Question) -> None:
        try:
            answers[number] = list(question.ask())
        except (ScalekitError, OSError) as error:
            answers[number] = [question.silent(masked(str(error) or "no answer in time"))]
        # One that fails in a way of its own must not take the findings of the others along.
        except Exception as error:  # noqa: BLE001
            answers[number] = [question.silent(masked(f"{type(error).__name__}: {error}")[:300])]

    # Daemons: one that hangs must not keep the program from ending.
    threads = [
        threading.Thread(target=ask, args=pair, name="doctor", daemon=True) for pair in enumerate(questions)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for question, answer in zip(questions, answers, strict=True):
        yield from [question.silent(f"nothing within {timeout:g} s")] if answer is None else answer


def _unchecked(parts: Parts, around: Around) -> Iterator[str]:
    if around.servers is None and parts.of(*database.CLUSTERS):
        yield "whether the database has connections for all: --servers N"
    if around.command is None or around.idle_timeout is None:
        yield "whether idle connections last: --command 'uvicorn ...' --idle-timeout SECONDS"
    if (around.slowest is None or around.killed_after is None) and parts.of(_DRAIN):
        yield "whether a drain has the time that it needs: --slowest SECONDS --killed-after SECONDS"
    if around.url is None:
        pages = ", and may upload straight to the bucket" if _uploads_directly(parts) else ""
        yield f"what pages say to caches{pages}: --url URL"
    if around.origin is None and (
        stack.has(parts.layers, stack.POLICY | stack.SHIELD)
        or any(thing.cdn is not None for _, thing in parts.of(assets.ASSETS))
    ):
        yield "whether the servers can be reached round the CDN: --origin URL"
