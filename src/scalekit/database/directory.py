"""Where replicas come from when they come and go: a function of the application's, or a name in the DNS.

Rules:

* Asked in the background, every ``refresh`` seconds. While it fails the last answer counts; a function that
  says there are none is believed.
* Who is new is read from when it has answered the probe. Who is gone gets no further transaction, and those
  that run go on: each connection is closed when it is given back.
* The primary stays a member whatever the list says: after a failover it may be one that was in it.
"""

import inspect
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import URL

from scalekit._options import check_names
from scalekit.database.configuration import DatabaseURL, parsed, place_of
from scalekit.database.engines import describe
from scalekit.database.replicas import Replica, members_of
from scalekit.errors import ConfigurationError, WrongColour
from scalekit.types import Colour

_log = logging.getLogger("scalekit.database")

Replicas: TypeAlias = Iterable[DatabaseURL | Replica]
Find: TypeAlias = Callable[[], "Replicas | Awaitable[Replicas]"]
"""A function that says which replicas there are now."""


class Directory:
    """Asks which replicas there are.

    Args:
        find: says so; may be a coroutine function under asynchronous code.
        primary: the primary's URL; it is no replica, even if it is found.
        refresh: seconds between two questions.
        colour: of the cluster.

    Raises:
        WrongColour: a coroutine function under synchronous code.
    """

    def __init__(self, find: Find, *, primary: URL, refresh: float, colour: Colour) -> None:
        self.find, self.refresh = find, refresh
        self._primary = primary
        self.failure: str | None = None
        """Why asking failed the last time; ``None`` if it did not."""
        self.is_async = inspect.iscoroutinefunction(find)
        if self.is_async and colour == "sync":
            raise WrongColour(found="async", wanted="sync", what="Cluster(replicas=...)", kind="function")

    def read(self, found: Any) -> list[tuple[URL, Replica]]:
        """What was found, checked; each server once.

        Raises:
            ConfigurationError: what cannot be a replica of this primary.
        """
        places = {place_of(self._primary)}
        replicas = []
        for index, one in enumerate(_checked(found)):
            url = one.url if isinstance(one, Replica) else one
            place = place_of(parsed(url, option=f"replicas()[{index}]"))
            if place not in places:
                places.add(place)
                replicas.append(one)
        return members_of(self._primary, replicas)[1:]

    def failed(self, error: Exception) -> None:
        """It could not be asked, or no member be made of what it said; told once."""
        told, self.failure = self.failure is not None, describe(error)
        if not told:
            _log.warning("the list of replicas stays as it is, since asking for it failed: %s", self.failure)

    def worked(self) -> None:
        """It was asked, and what it said is so now."""
        self.failure = None


def dns(
    url: DatabaseURL,
    *,
    resolve: Callable[[str, int | None], Sequence[str]] | None = None,
    **said: Any,
) -> Callable[[], list[Replica]]:
    """Replicas by a name in the DNS, one for each of its addresses; for ``replicas=``.

    With psycopg the name stays what a certificate is compared with. Other drivers compare the address.

    Args:
        url: of all of them, with the name as its host.
        resolve: says which addresses a host name and a port have; the system's resolver by default.
        said: arguments of :class:`Replica` for each.

    Raises:
        ConfigurationError: it has no such argument, or not with such a value; or ``url`` is none, or has no
            host.
    """
    check_names(said, Replica, taker="dns()")
    whole = parsed(url, option="dns()")
    if not whole.host:
        raise ConfigurationError("the URL in dns() names no host to look up")
    Replica(whole, **said)  # what is wrong with them is wrong now, and not in the background
    find_addresses = resolve or _resolve

    def find() -> list[Replica]:
        addresses = sorted(set(find_addresses(whole.host or "", whole.port)))
        return [Replica(_at(whole, address), **said) for address in addresses]

    return find


def _checked(found: Any) -> Replicas:
    if inspect.iscoroutine(found):
        found.close()  # nobody will await it
        raise ConfigurationError(
            "the function in replicas= returned a coroutine; with a Cluster it is a plain function that "
            "returns the list itself"
        )
    if isinstance(found, str | bytes | URL | Replica) or not isinstance(found, Iterable):
        raise ConfigurationError(
            f"the function in replicas= returned no list of URLs, but {type(found).__name__}"
        )
    return found


def _at(url: URL, address: str) -> URL:
    if url.get_driver_name() == "psycopg":
        return url.update_query_dict({"hostaddr": address})
    return url.set(host=address)


def _resolve(host: str, port: int | None) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
