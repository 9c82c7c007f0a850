"""Whose sessions a command is about, and in which store they are."""

import argparse
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from uuid import UUID

from scalekit.cli._objects import add_loading, load_object, refuse_factory
from scalekit.cli._redis_url import PATIENCE, add_redis, redis_url
from scalekit.cli._stop import drive
from scalekit.errors import ConfigurationError, WrongColour

if TYPE_CHECKING:
    from scalekit._steps import Steps
    from scalekit.sessions import Store

T = TypeVar("T")
User: TypeAlias = str | int | UUID

_KINDS: dict[str, Callable[[str], User]] = {"str": str, "int": int, "uuid": UUID}
_INT = re.compile(r"0|-?[1-9]\d{0,18}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def add_sessions(parser: argparse.ArgumentParser) -> None:
    """The options that :func:`ask` and :func:`users` read."""
    parser.add_argument("user", metavar="USER", help="who, as the application has given it to login()")
    parser.add_argument(
        "--type",
        choices=[*_KINDS],
        help="what the application gives; by default USER is taken for a text, and for a number or a UUID "
        "as well if it looks like one",
    )
    parser.add_argument(
        "--store",
        metavar="OBJECT",
        help="the store of the application, such as shop:store or shop.py:store; for one that is encrypted, "
        "or in Memcached",
    )
    add_loading(parser, target="OBJECT", returns="the store")
    add_redis(parser)
    parser.add_argument(
        "--prefix", metavar="TEXT", help="what the keys in Redis begin with, if it is not session:"
    )


def users(arguments: argparse.Namespace) -> list[User]:
    """Who USER may be. Two readings of it are never two people, and to miss one leaves somebody logged in.

    Raises:
        ConfigurationError: it is not of the ``--type``.
    """
    text = arguments.user
    if arguments.type is not None:
        try:
            return [_KINDS[arguments.type](text)]
        except ValueError:
            raise ConfigurationError(f"{text!r:.100} is no {arguments.type}") from None
    found: list[User] = [text]
    if _INT.fullmatch(text):
        found.append(int(text))
    if _UUID.fullmatch(text):
        found.append(UUID(text))
    return found


def ask(arguments: argparse.Namespace, steps: "Callable[[Any], Steps[T]]") -> T:
    """What ``steps`` return, which take the ``UserSessions`` of the store and yield what its methods give.

    Raises:
        ConfigurationError: there is no store, or nobody outside of a process can look into it.
        BackendError: the store failed.
        Stopped: there was a signal.
    """
    from scalekit.sessions import AsyncUserSessions, UserSessions

    store = _store(arguments)
    try:
        sessions = UserSessions(store)
    except WrongColour:
        return drive(steps(AsyncUserSessions(store)), "async")
    return drive(steps(sessions), "sync")


def _store(arguments: argparse.Namespace) -> "Store":
    if arguments.store is None:
        from scalekit.sessions.redis import RedisStore

        refuse_factory(arguments, without="--store")
        url = redis_url(arguments, instead="--store module:store")
        options = {} if arguments.prefix is None else {"prefix": arguments.prefix}
        return RedisStore.from_url(url, timeout=PATIENCE, connect_timeout=PATIENCE, **options)
    if arguments.redis is not None or arguments.prefix is not None:
        raise ConfigurationError("--store says where sessions are; leave out --redis and --prefix")
    from scalekit.sessions import MemoryStore

    store: Store = load_object(
        arguments.store, arguments, wanted="store of sessions", fits=_is_store, option="--store"
    )
    if isinstance(store, MemoryStore):
        raise ConfigurationError(
            f"{arguments.store} keeps sessions in the memory of each process of the application, "
            "where no other can look; RedisStore keeps them for all"
        )
    return store


def _is_store(thing: Any) -> bool:
    from scalekit.sessions import Store

    # The back ends of a cache have using(), too.
    return isinstance(thing, Store) and not isinstance(thing, type) and not hasattr(thing, "local")
