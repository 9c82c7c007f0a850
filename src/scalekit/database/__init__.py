"""Reads on replicas, writes on the primary, and never data older than what the visitor wrote.

    cluster = AsyncCluster("postgresql+asyncpg://app@primary/shop",
                           replicas=["postgresql+asyncpg://app@replica-1/shop"])
    app.add_middleware(ReadYourWritesMiddleware, cluster=cluster, secret_key=SECRET)

    async with cluster.session() as session:   # an AsyncSession; reads may go to a replica
        ...

One PostgreSQL, or one SQLite file, works the same without ``replicas``.
"""

from scalekit.errors import MissingExtra

try:
    import sqlalchemy as _sqlalchemy  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtra("sqlalchemy", needed_by="scalekit.database") from error

from scalekit._http import Cookie
from scalekit.database.cluster import AsyncCluster, Cluster
from scalekit.database.directory import dns
from scalekit.database.levels import ANY, CAUSAL, STRONG, Bounded, Consistency
from scalekit.database.promotions import Promotion
from scalekit.database.replicas import Replica
from scalekit.database.scope import Scope
from scalekit.database.session import ReadWriteSession
from scalekit.database.status import FallbackStatus, MemberStatus, Status
from scalekit.database.tokens import Token, TokenSigner
from scalekit.database.visitors import by_client, by_cookie
from scalekit.database.visits import VisitOptions

__all__ = [
    "ANY",
    "CAUSAL",
    "STRONG",
    "AsyncCluster",
    "Bounded",
    "Cluster",
    "Consistency",
    "Cookie",
    "FallbackStatus",
    "MemberStatus",
    "Promotion",
    "ReadWriteSession",
    "Replica",
    "Scope",
    "Status",
    "Token",
    "TokenSigner",
    "VisitOptions",
    "by_client",
    "by_cookie",
    "dns",
]
