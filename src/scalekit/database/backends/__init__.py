"""What each kind of server can tell us: one file a kind."""

from typing import Literal, TypeAlias

from sqlalchemy import URL

from scalekit.database.backends.aurora import Aurora
from scalekit.database.backends.mariadb import MariaDB
from scalekit.database.backends.mysql import MySQL
from scalekit.database.backends.postgresql import PostgreSQL
from scalekit.database.backends.protocol import Backend
from scalekit.errors import ConfigurationError

_KINDS: dict[str, type[Backend]] = {"postgresql": PostgreSQL, "mariadb": MariaDB, "mysql": MySQL}

Server: TypeAlias = Literal["aurora"]
"""A kind of server that its URL does not tell."""


def backend_for(url: URL, server: Server | None = None) -> Backend | None:
    """The kind of server that ``url`` leads to, or ``None`` for one whose replicas we know nothing about.

    Args:
        url: of one of the servers.
        server: what is said of them; ``None``: they are what the URL says.

    Raises:
        ConfigurationError: no ``server`` that we know, or not with such a URL.
    """
    kind = _KINDS.get(url.get_backend_name())
    if server is None:
        return kind() if kind is not None else None
    if server != "aurora":
        raise ConfigurationError(f"server={server!r}; use 'aurora', or leave it out")
    if kind is not PostgreSQL:
        raise ConfigurationError(
            "server='aurora' is Aurora PostgreSQL, whose URLs begin with postgresql+psycopg:// or "
            f"postgresql+asyncpg://, not {url.drivername}://"
        )
    return Aurora()
