"""What a cluster is configured with: checked before anything is connected to."""

import inspect
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from scalekit.database.advice import check_options
from scalekit.database.engines import address, name_of
from scalekit.database.levels import ANY, CAUSAL, STRONG, Bounded
from scalekit.errors import ConfigurationError

_NEXT = re.compile(r",\s*([\w+]+://|$)")  # of a list in one text
_NAME = re.compile(r"(\w+\.)*\w[\w$]*")

DatabaseURL: TypeAlias = str | URL

_PORTS = {"postgresql": "5432", "mysql": "3306", "mariadb": "3306"}
_PLACES = ("host", "hostaddr", "port", "unix_socket", "dsn", "service")
_ONE_EACH = "with replicas= each of them is one member, with a URL of its own"
_ROLES = "target_session_attrs"


def member_urls(primary: DatabaseURL, replicas: Sequence[DatabaseURL]) -> list[URL]:
    urls = [parsed(primary, option="primary=")]
    urls += [parsed(url, option=f"replicas[{index}]") for index, url in enumerate(replicas)]
    names = [name_of(url) for url in urls]
    places = [place_of(url) for url in urls]
    for index, (url, name, place) in enumerate(zip(urls, names, places, strict=True)):
        if url.get_backend_name() == "postgres":
            raise ConfigurationError(
                f"SQLAlchemy knows no {url.drivername}:// databases; use postgresql+psycopg://, or "
                "postgresql+asyncpg:// for an AsyncCluster"
            )
        if url.database != urls[0].database and url.get_backend_name() != "sqlite":
            raise ConfigurationError(
                f"{name} and {names[0]} are two databases; a replica has its primary's, and their names"
            )
        if len(urls) > 1 and "," in place[0]:
            raise ConfigurationError(f"{name} names several servers; {_ONE_EACH}")
        if place in places[:index]:
            raise ConfigurationError(f"{name} is given twice; each server is one member")
        if len(urls) > 1:
            _check_no_role(url.query, of=name)
        check_options(url, name=name)
        if url.drivername != urls[0].drivername:
            raise ConfigurationError(
                f"{name} uses {url.drivername}://, {names[0]} {urls[0].drivername}://: members share a driver"
            )
    return urls


def check_shared(options: Mapping[str, Any]) -> None:
    """Check the engine options that go to each of several members."""
    for option in ("creator", "async_creator", "pool", "strategy"):
        if option in options:
            raise ConfigurationError(f"{option}= cannot be combined with replicas=")
    arguments = options.get("connect_args", {})
    for name in _PLACES:
        if name in arguments:
            raise ConfigurationError(
                f"connect_args= has {name}=, which would lead every member to one server; it belongs into "
                "their URLs"
            )
    _check_no_role(arguments, of="connect_args=")


def _check_no_role(given: Mapping[str, Any], *, of: str) -> None:
    if given.get(_ROLES, "any") != "any":
        raise ConfigurationError(
            f"{of} has {_ROLES}={given[_ROLES]!r}, and roles move from member to member; leave it out, the "
            "cluster finds out which of them is the primary"
        )


def place_of(url: URL) -> tuple[str, str, str]:
    """Where ``url`` leads; the same for two ways to write it."""
    host, port = address(url)
    return host.lower(), port or _PORTS.get(url.get_backend_name(), ""), url.database or ""


def check_listed(replicas: object) -> None:
    """Refuse what is no list of replicas, and no function either.

    Raises:
        ConfigurationError: it is none; says what was meant.
    """
    if isinstance(replicas, str):
        _check_one(replicas, option="replicas=")
    if isinstance(replicas, str | URL):
        raise ConfigurationError("replicas= takes a list of URLs; put the one replica into a list")
    if inspect.isawaitable(replicas):
        if inspect.iscoroutine(replicas):
            replicas.close()  # nobody will await it
        raise ConfigurationError(
            "replicas= was given the result of a coroutine function; give the function itself, without ()"
        )
    if not isinstance(replicas, Iterable):
        raise ConfigurationError(
            f"replicas= takes a list of URLs or a function that returns one, not {type(replicas).__name__}; "
            "where there are none, leave it out"
        )


def _check_one(text: str, *, option: str) -> None:
    if _NEXT.search(text):
        raise ConfigurationError(f"{option} has a comma; give each URL as an item of its own")


def parsed(text: object, *, option: str) -> URL:
    """``text`` as a URL.

    Args:
        option: where it was given, for messages, which do not quote it.

    Raises:
        ConfigurationError: it is none, or several.
    """
    if text is None or text == "":
        raise ConfigurationError(
            f"the URL in {option} is {'None' if text is None else 'empty'}: is the variable set that it is "
            "read from?"
        )
    if not isinstance(text, str | URL):
        raise ConfigurationError(f"the URL in {option} is of the type {type(text).__name__}, and no text")
    if isinstance(text, str):
        _check_one(text, option=option)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None and re.search(r"@[^@/?]*:\d+,[^@/?]*(/|$)", str(text)):
        raise ConfigurationError(f"the URL in {option} names several servers; {_ONE_EACH}")
    # Neither quoted nor the cause of an error: what is parsed wrongly may be a part of a password.
    if url is None or (url.host and "@" in f"{url.host}{url.database}"):
        raise ConfigurationError(
            f"the URL in {option} cannot be parsed; it looks like driver://user:password@host:5432/name, and "
            "in a password @ is written %40, / %2F and : %3A"
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
