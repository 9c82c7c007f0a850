"""Which drivers can route: one leaf file a driver, imported when a URL names it."""

from sqlalchemy import URL
from sqlalchemy.exc import NoSuchModuleError

from scalekit.database.drivers.protocol import Driver
from scalekit.errors import ConfigurationError


def driver_for(url: URL) -> Driver:
    """The driver that ``url`` names; imports it.

    Raises:
        ConfigurationError: one that cannot route, or is not installed.
    """
    try:
        match url.get_backend_name(), url.get_driver_name():
            case "postgresql", "asyncpg":
                from scalekit.database.drivers.asyncpg import Asyncpg

                return Asyncpg()
            case "postgresql", "psycopg":
                from scalekit.database.drivers.psycopg import Psycopg

                return Psycopg()
            case "mariadb" | "mysql" as kind, "asyncmy":
                from scalekit.database.drivers.asyncmy import Asyncmy

                return Asyncmy(is_mariadb=kind == "mariadb")
            case "mariadb" | "mysql" as kind, "aiomysql":
                from scalekit.database.drivers.aiomysql import Aiomysql

                return Aiomysql(is_mariadb=kind == "mariadb")
            case "mariadb" | "mysql" as kind, "pymysql":
                from scalekit.database.drivers.pymysql import PyMySQL

                return PyMySQL(is_mariadb=kind == "mariadb")
    except NoSuchModuleError as error:
        raise ConfigurationError(f"SQLAlchemy knows no {url.drivername}:// databases") from error
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{url.drivername}:// needs its driver: pip install {error.name}") from error
    raise ConfigurationError(
        "replicas= needs postgresql+asyncpg:// or postgresql+psycopg://, mariadb+asyncmy://, "
        "mariadb+aiomysql:// or mariadb+pymysql://, or the same three with mysql+, "
        f"not {url.drivername}://"
    )


def known_driver(url: URL) -> Driver | None:
    """The driver that ``url`` names, or ``None`` for one that we know nothing about, or that is not there."""
    try:
        return driver_for(url)
    except ConfigurationError:
        return None  # who makes the engine says what is wrong, if anything is
