"""How many transactions each database got from this server's visitors.

A read is counted by the role that its database had at that moment: what was read from a replica stays so
when the replica is promoted.
"""

from collections import Counter

from sqlalchemy import make_url, select
from sqlalchemy.ext.asyncio import AsyncSession

from examples.shop.app.settings import Settings
from scalekit.database import AsyncCluster


class Counts:
    """Reads, reads from replicas, and commits, by the database's name."""

    def __init__(self, settings: Settings, cluster: AsyncCluster) -> None:
        self._cluster = cluster
        urls = [make_url(url) for url in (settings.database, *settings.replicas)]
        self.names = (
            {f"{url.host}:{url.port}": f"db-{number}" for number, url in enumerate(urls, 1)}
            if settings.replicas
            else {f"{urls[0].host}:{urls[0].port}": "SQLite"}
        )
        """Host and port to name, in the order in which the databases were configured."""
        self._reads: Counter[str] = Counter()
        self._replica_reads: Counter[str] = Counter()
        self._commits: Counter[str] = Counter()

    def place(self, session: AsyncSession) -> str:
        """The database that the session's transaction runs on; empty if nothing was asked of one."""
        if not session.in_transaction():
            return ""
        url = session.sync_session.get_bind(clause=select(1)).engine.url
        return self.names.get(f"{url.host}:{url.port}", "")

    def is_replica(self, name: str) -> bool:
        """Whether it is one now."""
        primary = (self._cluster.status().primary or "").partition("/")[0]
        return len(self.names) > 1 and self.names.get(primary) != name

    def add(self, name: str, *, replica: bool, wrote: bool) -> None:
        """A transaction has ended well."""
        if not name:
            return
        if wrote:
            self._commits[name] += 1
        else:
            self._reads[name] += 1
            self._replica_reads[name] += replica

    def snapshot(self) -> list[dict[str, object]]:
        return [
            {
                "name": name,
                "reads": self._reads[name],
                "replica_reads": self._replica_reads[name],
                "commits": self._commits[name],
            }
            for name in self.names.values()
        ]
