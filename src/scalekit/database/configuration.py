"""What a cluster is configured with: checked before anything is connected to."""

import re
from collections.abc import Collection, Sequence
from typing import TypeAlias

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from scalekit.database.engines import name_of
from scalekit.database.levels import ANY, CAUSAL, STRONG, Bounded
from scalekit.errors import ConfigurationError

_NAME = re.compile(r"(\w+\.)*\w[\w$]*")

DatabaseURL: TypeAlias = str | URL


def member_urls(primary: DatabaseURL, replicas: Sequence[DatabaseURL]) -> list[URL]:
    if isinstance(replicas, str | URL):
        raise ConfigurationError("replicas= takes a list of URLs; put the one replica into a list")
    urls = [_parsed(url) for url in (primary, *replicas)]
    names = [name_of(url) for url in urls]
    for url, name in zip(urls, names, strict=True):
        if url.get_backend_name() == "postgres":
            raise ConfigurationError(
                f"SQLAlchemy knows no {url.drivername}:// databases; use postgresql+psycopg://, or "
                "postgresql+asyncpg:// for an AsyncCluster"
            )
        if url.database != urls[0].database and url.get_backend_name() != "sqlite":
            raise ConfigurationError(
                f"{name} and {names[0]} are two databases; a replica has its primary's, and their names"
            )
        if names.count(name) > 1:
            raise ConfigurationError(f"{name} is given twice; each server is one member")
        if url.drivername != urls[0].drivername:
            raise ConfigurationError(
                f"{name} uses {url.drivername}://, {names[0]} {urls[0].drivername}://: members share a driver"
            )
    return urls


def _parsed(text: DatabaseURL) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    # Neither quoted nor the cause of an error: what is parsed wrongly may be a part of a password.
    if url is None or (url.host and "@" in f"{url.host}{url.database}"):
        raise ConfigurationError(
            "a database URL cannot be parsed; it looks like driver://user:password@host:5432/name, and in a "
            "password @ is written %40, / %2F and : %3A"
        )
    return url


def names_of(given: Collection[str], *, option: str) -> frozenset[str]:
    """Names of functions or relations as they are looked for in a text: in lower case, without a schema."""
    if isinstance(given, str):
        raise ConfigurationError(f"{option}={given!r}; put the one name into a list")
    for name in given:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"{option}= has {name!r}, which is no name; leave arguments out")
    return frozenset(name.lower().rpartition(".")[2] for name in given)


def check_level(level: object) -> None:
    if not isinstance(level, Bounded) and level not in (ANY, CAUSAL, STRONG):
        raise ConfigurationError(f"consistency={level!r}; use ANY, CAUSAL, Bounded(seconds) or STRONG")


def count(number: int | None, *, name: str, minimum: int = 1) -> int | None:
    """``number``, at least ``minimum`` where it is given; ``name`` is the option's, for the message."""
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < minimum):
        raise ConfigurationError(f"{name}={number!r} must be a whole number, at least {minimum}")
    return number
