"""What is asked of the servers that an application uses, and what it means that one does not answer."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from scalekit.ops.doctor import assets, bucket, cors, database, redis, server, site
from scalekit.ops.doctor.around import Around
from scalekit.ops.doctor.findings import Finding
from scalekit.ops.doctor.parts import Parts


class Question(NamedTuple):
    """Something to ask: ``ask`` may block, and ``silent`` says what it means that there was no answer."""

    ask: Callable[[], Iterable[Finding]]
    silent: Callable[[str], Finding]


def questions(parts: Parts, around: Around, served: server.Server | None) -> Iterator[Question]:
    """Everything that there is to ask."""
    patience = around.patience
    for where, link, use, waits_for in _links(parts):
        yield Question(
            partial(_ask_redis, link, use, where, waits_for, patience),
            partial(redis.unreachable, link.name, where=where),
        )
    workers = 1 if served is None else served.workers
    processes = None if around.servers is None else around.servers * workers
    for where, cluster in parts.of(*database.CLUSTERS):
        names = ", ".join(one.name for one in cluster.status().members)
        yield Question(
            partial(_ask_database, cluster, processes, where, patience),
            partial(database.unreachable, names, where=where),
        )
    for where, storage in parts.of(bucket.S3):
        yield Question(
            partial(_ask_bucket, storage, _origins(parts, around), where),
            partial(bucket.unreachable, storage.bucket, where=where),
        )
    if around.url is not None:
        yield Question(
            partial(_ask_page, around.url, [thing for _, thing in parts.of(assets.ASSETS)], patience),
            partial(site.unreachable, around.url, option="--url"),
        )
    if around.origin is not None:
        yield Question(
            partial(_ask_origin, around.origin, patience),
            partial(site.unreachable, around.origin, option="--origin"),
        )


def uploads_directly(parts: Parts) -> bool:
    """Whether browsers upload straight to a bucket."""
    return bool(parts.of(bucket.DIRECT)) or parts.calls("presign_post", "presign_put")


def _origins(parts: Parts, around: Around) -> list[str]:
    """The origins of pages that do so."""
    if around.url is None or not uploads_directly(parts):
        return []
    url = urlsplit(around.url)
    return [f"{url.scheme}://{url.netloc}"]


def _links(parts: Parts) -> Iterator[tuple[str, Any, redis.Use, int]]:
    """Where something is kept in Redis, each server once for each use; and how many replicas must have it."""
    seen = set()
    for name, (use, attribute) in redis.STORES.items():
        for where, store in parts.of(name):
            link, confirm = getattr(store, attribute), getattr(store, "_confirm", None)
            waits_for = 0 if confirm is None else confirm.replicas
            if (link.name, use, waits_for) not in seen:
                seen.add((link.name, use, waits_for))
                yield where, link, use, waits_for


def _ask_redis(link: Any, use: redis.Use, where: str, waits_for: int, patience: float) -> Iterator[Finding]:
    from scalekit._redis.facts import facts

    for one in facts(link, timeout=patience):
        yield from redis.judge(one, use=use, where=where, waits_for=waits_for)


def _ask_database(cluster: Any, processes: int | None, where: str, patience: float) -> Iterator[Finding]:
    from scalekit.database.examine import examine

    yield from database.judge(examine(cluster, patience=patience), processes=processes, where=where)


def _ask_bucket(storage: Any, origins: list[str], where: str) -> Iterable[Finding]:
    from scalekit.storage.bucket import examine

    async def work() -> list[Finding]:
        async with storage:
            return list(bucket.judge(await examine(storage, origins=origins), where=where))

    return asyncio.run(work())


def _ask_page(url: str, found: list[Any], patience: float) -> Iterator[Finding]:
    page = site.ask(url, timeout=patience, follow=True, checked=True)
    yield from site.judge_page(page)
    yield from cors.examine(page, cors.font_of(found), timeout=patience / 2)


def _ask_origin(url: str, patience: float) -> Iterator[Finding]:
    try:
        answer = site.ask(url, timeout=patience, follow=False, checked=False)
    except OSError:
        return  # which is what a firewall is for
    yield from site.judge_origin(answer)
