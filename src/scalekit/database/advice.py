"""What somebody meant who wrote a URL that leads to no engine. Pure.

Messages name the driver or the option to write in place of the one that was written, never what is in the URL
besides.
"""

from collections.abc import Mapping

from sqlalchemy import URL

from scalekit.errors import ConfigurationError
from scalekit.types import Colour

_DRIVERS: Mapping[str, Mapping[Colour, str]] = {
    "postgresql": {"sync": "postgresql+psycopg", "async": "postgresql+asyncpg"},
    "mariadb": {"sync": "mariadb+pymysql", "async": "mariadb+asyncmy"},
    "mysql": {"sync": "mysql+pymysql", "async": "mysql+asyncmy"},
    "sqlite": {"sync": "sqlite", "async": "sqlite+aiosqlite"},
}
_OTHER: Mapping[Colour, str] = {"sync": "AsyncCluster", "async": "Cluster"}

_IN_CONTEXT = "give connect_args={'ssl': a context of ssl.create_default_context()}"
_IN_SETTINGS = "give connect_args={'server_settings': {...}}"
# Of libpq, whose URLs are what providers print, and the reverse.
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "asyncpg": {
        "sslmode": "write ?ssl=, with the same values, as in ?ssl=require",
        "sslrootcert": _IN_CONTEXT,
        "sslcert": _IN_CONTEXT,
        "sslkey": _IN_CONTEXT,
        "sslcrl": _IN_CONTEXT,
        "channel_binding": "leave it out",
        "connect_timeout": "give the cluster connect_timeout=",
        "application_name": _IN_SETTINGS,
        "options": _IN_SETTINGS,
    },
    "psycopg": {"ssl": "write ?sslmode=, with the same values, as in ?sslmode=require"},
}


def right_colour(url: URL, wanted: Colour) -> str:
    """What to write where ``url`` has a driver of the other colour."""
    driver = _DRIVERS.get(url.get_backend_name(), {}).get(wanted)
    return f"use {_OTHER[wanted]}" if driver is None else f"write {driver}://, or use {_OTHER[wanted]}"


def missing_driver(url: URL, wanted: Colour, *, module: str | None) -> str:
    """What to do where the driver of ``url`` is not installed.

    Args:
        module: what could not be imported.
    """
    if url.drivername == "postgresql+psycopg2":
        # Not the advice to install it: it would be the wrong one as soon as there are replicas.
        return (
            f"{url.drivername}:// is not installed, and could not read from replicas; write "
            f"{_DRIVERS['postgresql'][wanted]}://"
            + (", which is psycopg 3: pip install psycopg" if wanted == "sync" else ": pip install asyncpg")
        )
    return f"{url.drivername}:// needs its driver: pip install {module}"


def check_options(url: URL, *, name: str) -> None:
    """Refuse the options of another driver.

    Raises:
        ConfigurationError: ``url`` has one.
    """
    driver = url.drivername.partition("+")[2]
    for option, cure in _OPTIONS.get(driver, {}).items():
        if option in url.query:
            raise ConfigurationError(f"{name} has the option {option}=, which {driver} has not; {cure}")
