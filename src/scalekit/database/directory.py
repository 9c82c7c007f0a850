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

from sqlalchemy import URL, make_url

from scalekit._options import check_names
from scalekit.database.configuration import DatabaseURL, place_of
from scalekit.database.engines import describe
from scalekit.database.replicas import Replica, members_of
from scalekit.errors import WrongColour
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
        self._failed = False
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
        for one in found:
            place = place_of(make_url(one.url if isinstance(one, Replica) else one))
            if place not in places:
                places.add(place)
                replicas.append(one)
        members = members_of(self._primary, replicas)
        self._failed = False
        return members[1:]

    def failed(self, error: Exception) -> None:
        """It could not be asked; said once."""
        if not self._failed:
            _log.warning(
                "the list of replicas stays as it is, since asking for it failed: %s", describe(error)
            )
        self._failed = True


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
        ConfigurationError: it has no such argument, or not with such a value.
    """
    check_names(said, Replica, taker="dns()")
    parsed = make_url(url)
    Replica(parsed, **said)  # what is wrong with them is wrong now, and not in the background
    find_addresses = resolve or _resolve

    def find() -> list[Replica]:
        addresses = sorted(set(find_addresses(parsed.host or "", parsed.port)))
        return [Replica(_at(parsed, address), **said) for address in addresses]

    return find


def _at(url: URL, address: str) -> URL:
    if url.get_driver_name() == "psycopg":
        return url.update_query_dict({"hostaddr": address})
    return url.set(host=address)


def _resolve(host: str, port: int | None) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
