"""What each kind of server can tell us: one file a kind."""

from sqlalchemy import URL

from scalekit.database.backends.mariadb import MariaDB
from scalekit.database.backends.mysql import MySQL
from scalekit.database.backends.postgresql import PostgreSQL
from scalekit.database.backends.protocol import Backend

_KINDS: dict[str, type[Backend]] = {"postgresql": PostgreSQL, "mariadb": MariaDB, "mysql": MySQL}


def backend_for(url: URL) -> Backend | None:
    """The kind of server that ``url`` leads to, or ``None`` for one whose replicas we know nothing about."""
    kind = _KINDS.get(url.get_backend_name())
    return kind() if kind is not None else None
