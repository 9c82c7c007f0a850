"""What a process tells about the members: a snapshot, and counters that only grow."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from scalekit.database import AsyncCluster, Cluster
from scalekit.database.backends.postgresql import PostgreSQL
from scalekit.database.backends.protocol import Trouble
from scalekit.errors import NoServerAvailable
from tests.conftest import Database
from tests.database.conftest import PATIENT
from tests.faults import pause_replay
from tests.servers.waiting import wait_until

READ = text("SELECT stock FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")


def test_what_json_can_hold() -> None:
    """27. All of it, before anything is known too."""
    for cluster in (
        Cluster("sqlite://"),
        Cluster("postgresql+psycopg://app@one/shop", replicas=["postgresql+psycopg://app@two/shop"]),
    ):
        facts = json.loads(json.dumps(cluster.status().as_dict()))
        assert [member["ejections"] for member in facts["members"]] == [0] * len(facts["members"])
        assert facts["fallback"] == {
            "limit": None if cluster.is_single else 7, "in_flight": 0, "reads": 0, "waits": 0, "refused": 0,
        }  # fmt: skip


async def test_counters(
    items: Database, make_async: Callable[..., AsyncCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """27. Questions before reads, what the primary took over, statements that were repeated or cancelled."""
    cluster = make_async(replicas=items.replica_urls()[:1])
    async with cluster.session() as session:
        assert (await session.execute(READ)).scalar_one() == 0
    with pause_replay(items.cluster.replicas[0]), cluster.scope():
        async with cluster.session() as session:
            await session.execute(WRITE)
            await session.commit()
        async with cluster.session() as session:
            assert (await session.execute(READ)).scalar_one() == 1
        _, replica = cluster.status().members
        assert replica.questions == 1
        assert cluster.status().fallback.reads == 1
        assert (replica.repeats, replica.cancellations) == (0, 0)
    monkeypatch.setattr(PostgreSQL, "trouble", lambda *_: Trouble.CONFLICT)
    with cluster.scope():
        async with cluster.session() as session:
            with pytest.raises(DBAPIError, match="division by zero"):
                await session.execute(text("SELECT 1 / 0"))
    _, replica = cluster.status().members
    assert (replica.repeats, replica.cancellations) == (1, 1)


def test_no_member_takes_writes(items: Database, caplog: pytest.LogCaptureFixture) -> None:
    """13. A replica's URL was given as the primary's: the log says so before anybody writes, and once."""
    one, two = items.replica_urls("psycopg")
    with Cluster(one, replicas=[two], failover_wait=0.05, **PATIENT) as cluster:
        with cluster.session() as session:
            assert session.execute(READ).scalar_one() == 0
        told = "none of the members takes writes, all are replicas; is the primary's URL among them?"
        wait_until(lambda: caplog.text.count(told) > 0, what="it is told")
        with cluster.session() as session, pytest.raises(NoServerAvailable) as raised:
            session.execute(WRITE)
        assert str(raised.value).endswith(told)
        assert caplog.text.count(told) == 1
    with (
        Cluster(one, replicas=[items.primary_url("psycopg")], **PATIENT) as cluster,
        cluster.session() as session,
    ):
        session.execute(WRITE)
        session.rollback()
    assert caplog.text.count(told) == 1
