"""23. What asks the members in the background belongs to no request, though it began in one."""

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import event, text

from scalekit.database import AsyncCluster, Cluster
from tests.conftest import Database
from tests.database._waiting import until, wait

REQUEST = ContextVar("request", default="none")


class Seen:
    """In whose context each member was asked, and the function that lists the replicas."""

    def __init__(self, replicas: list[str]) -> None:
        self.lists: list[str] = []
        self.questions: dict[str, list[str]] = {}
        self._replicas = replicas

    def find(self) -> list[str]:
        self.lists.append(REQUEST.get())
        # The second one is found later, by whoever asks for the list then.
        return self._replicas[: len(self.lists)]

    async def find_async(self) -> list[str]:
        return self.find()

    def listen(self, cluster: Cluster | AsyncCluster) -> None:
        made = cluster._fleet._make

        def make(*arguments: Any) -> Any:
            member = made(*arguments)
            self._attach(member)
            return member

        cluster._fleet._make = make
        for member in cluster._fleet.members:
            self._attach(member)

    def _attach(self, member: Any) -> None:
        questions = self.questions.setdefault(member.name, [])
        event.listen(
            member.probe.pool.sync, "before_cursor_execute", lambda *_: questions.append(REQUEST.get())
        )

    def enough(self) -> bool:
        return (
            len(self.questions) == 3
            and all(len(one) > 1 for one in self.questions.values())
            and len(self.lists) > 2
        )

    @property
    def contexts(self) -> set[str]:
        return {*self.lists}.union(*self.questions.values())


@pytest.mark.parametrize("colour", ["plain", "coroutine"])
async def test_tasks_know_no_request(
    items: Database, make_async: Callable[..., AsyncCluster], colour: str
) -> None:
    """23. Neither a listener nor the function that lists the replicas, in a task or in a thread."""
    seen = Seen(items.replica_urls("asyncpg"))
    find = seen.find if colour == "plain" else seen.find_async
    cluster = make_async(replicas=find, refresh=0.05)
    seen.listen(cluster)
    REQUEST.set("the first")
    async with cluster.session() as session:
        await session.execute(text("SELECT 1"))
    await until(seen.enough)
    assert seen.contexts == {"none"}


def test_threads_know_no_request(
    items: Database, make_sync: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """23. Python can be told to start threads in a copy of the context, and does so where it has no GIL."""
    plain = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        REQUEST.set("the first")
        plain(thread)

    monkeypatch.setattr(threading.Thread, "run", run)
    seen = Seen(items.replica_urls("psycopg"))
    cluster = make_sync(replicas=seen.find, refresh=0.05)
    seen.listen(cluster)
    with cluster.session() as session:
        session.execute(text("SELECT 1"))
    wait(seen.enough)
    assert seen.contexts == {"none"}
