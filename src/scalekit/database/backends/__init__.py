"""What each kind of server can tell us: one file a kind."""

from sqlalchemy import URL

from scalekit.database.backends.postgresql import PostgreSQL
from scalekit.database.backends.protocol import Backend


def backend_for(url: URL) -> Backend | None:
    """The kind of server that ``url`` leads to, or ``None`` for one whose replicas we know nothing about."""
    return PostgreSQL() if url.get_backend_name() == "postgresql" else None
