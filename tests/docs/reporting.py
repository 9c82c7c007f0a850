"""Everything of scalekit that reports, and all that it can tell."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend
from scalekit.cdn import Assets, CdnProbe, Shield
from scalekit.cdn.purge import Purged
from scalekit.cdn.purge_queue import PurgeQueue
from scalekit.database.reported import reported
from scalekit.database.status import FallbackStatus, MemberStatus, Status
from scalekit.metrics import Metric
from scalekit.ops import Drain, Metrics, Shedding
from scalekit.ops.siblings import Siblings
from scalekit.ops.switches import Switches
from scalekit.sessions import MemoryStore
from scalekit.storage import MemoryStorage
from scalekit.storage.budget import UPLOADS
from scalekit.storage.mirror import MirroredStorage


class Broken:
    """Has a failure to count."""

    def metrics(self) -> list[Metric]:
        raise RuntimeError


class Database:
    """A cluster whose replica lags. What real ones report is seen in tests/database/test_metrics.py."""

    def metrics(self) -> Iterable[Metric]:
        member = MemberStatus(
            name="one:5432/shop",
            role="primary",
            reason=None,
            notice=None,
            lag=0.0,
            timeline=1,
            position="0/1",
            in_flight=0,
            transactions=0,
            commits=0,
            ejections=0,
            questions=0,
            repeats=0,
            cancellations=0,
        )
        replica = replace(member, name="two:5432/shop", role="replica", lag=2.0)
        fallback = FallbackStatus(limit=7, in_flight=0, reads=0, waits=0, refused=0)
        return reported(Status(primary=member.name, members=(member, replica), fallback=fallback), 0)


class Nobody:
    """A purger that has no CDN."""

    def tags(self, tags: object) -> Purged:
        raise NotImplementedError

    urls = everything = tags


def everything(folder: Path) -> list[Metric]:
    """Each metric that there is, with a sample of each."""
    (folder / "static").mkdir()
    (folder / "static/logo.png").write_bytes(b"logo")
    assets = Assets(folder / "static")
    metrics = Metrics(
        {
            "sessions": MemoryStore(),
            "cache": Cache(MemoryBackend()),
            "database": Database(),
            "uploads": MirroredStorage(MemoryStorage(), folder / "copies", max_bytes=1000),
            "budget": UPLOADS,
            "assets": assets,
            "cdn": CdnProbe(assets),
            "shield": Shield(secret="a secret of the tests, long enough".replace(" ", "-")),
            "purges": PurgeQueue(Nobody()),
            "drain": Drain(signals=()),
            "shedding": Shedding(),
            "switches": Switches.from_url("redis://127.0.0.1:1"),
            "broken": Broken(),
        }
    )
    metrics.traffic.end(metrics.traffic.begin(None), "GET", 200)
    siblings = Siblings(metrics.collect, directory=folder / "m")
    try:
        return siblings.gather()
    finally:
        siblings.close()
