"""The link: a place where Memcached commands go, in either colour."""

import threading
from collections.abc import Collection, Sequence
from typing import Any, Protocol, Self

from scalekit._forks import renew_in_children
from scalekit._limits import Limits
from scalekit._memcached import meta, source
from scalekit._memcached.aio import AsyncCommands
from scalekit._memcached.source import Source
from scalekit._memcached.sync import SyncCommands
from scalekit._memcached.url import parse
from scalekit.errors import WrongColour
from scalekit.types import Colour


class Commands(Protocol):
    """One colour of a link: each method gives a value (sync) or an awaitable of it (async).

    A key is ASCII without spaces and control characters, 250 bytes at most. ``seconds`` is how long a value
    stays, as Memcached counts: 0 is for ever, below 0 is not at all, above 30 days a moment since 1970.

    Raises:
        BackendUnavailable: the key's server cannot be reached, the connection broke while the command was on
            its way, or the circuit breaker is open.
        BackendTimeout: no answer in time. A write may have been applied.
        Refused: the server does not do it; nothing was stored.
    """

    def gets(self, key: str) -> Any:
        """``Found(value, version)``, or ``None``."""

    def add(self, key: str, value: bytes, *, seconds: int) -> Any:
        """``True`` if it was stored, ``False`` if there is a value already."""

    def cas(self, key: str, value: bytes, version: int, *, seconds: int) -> Any:
        """``True`` if it was stored, ``False`` if there is another version, ``None`` if there is none."""

    def delete(self, key: str) -> Any:
        """Whether there was a value."""

    def together(self, commands: Sequence[meta.Command]) -> Any:
        """The answers to several commands of :mod:`scalekit._memcached.meta`, in their order: one trip to
        each server. They are not one transaction. If one fails, the others may have been carried out."""

    def elsewhere(self, keys: Sequence[str]) -> Collection[str]:
        """The servers that have none of ``keys``, as ``BackendError.backend`` names them. At once."""
        ...

    def ping(self) -> Any:
        """``None``, once every server has answered."""

    def pause(self, seconds: float) -> Any:
        """Wait, as this colour does."""

    def close(self) -> Any:
        """Release every connection; what is in flight fails. May be used again after."""


class Memcached:
    """A place where Memcached commands go.

    ``Memcached(client)`` takes the servers, time-outs, key prefix and TLS of a pymemcache client, for
    synchronous code; connections are our own, and what ``client`` does to values is left out. Time-outs that
    it does not have, and ``spare_callers``, are those of :meth:`from_url`.

    Raises:
        ConfigurationError: ``client`` is none of pymemcache.
    """

    def __init__(self, client: Any, *, spare_callers: bool = False) -> None:
        self._begin(source.of_client(client, spare_callers=spare_callers))

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        timeout: float = source.TIMEOUT,
        connect_timeout: float = source.CONNECT_TIMEOUT,
        max_connections: int = source.CONNECTIONS,
        cooldown: float = source.COOLDOWN,
        spare_callers: bool = False,
    ) -> Self:
        """A link to the servers that ``url`` names; see :mod:`scalekit._memcached.url`.

        Args:
            url: for instance ``memcached://cache-1:11211,cache-2:11211``.
            timeout: seconds that an answer may take.
            connect_timeout: seconds that connecting may take.
            max_connections: connections of threads to each server; more threads wait, for ``timeout`` at
                most. An event loop uses one.
            cooldown: seconds for which the circuit breaker refuses before it lets a probe through.
            spare_callers: no caller is the circuit breaker's probe: a question of our own is, and meanwhile
                all are refused. Nor does one wait longer than ``connect_timeout`` for a connection that goes
                on being made. By default the probe is the next command that comes.

        Raises:
            ConfigurationError: the URL or a number is wrong. The message never quotes the URL.
        """
        limits = Limits(
            timeout=timeout,
            connect_timeout=connect_timeout,
            max_connections=max_connections,
            cooldown=cooldown,
            spare_callers=spare_callers,
        ).checked()
        link = cls.__new__(cls)
        link._begin(source.of_target(parse(url), limits))
        return link

    def _begin(self, source: Source) -> None:
        self.name = source.name
        self.key_prefix = source.key_prefix
        self._source = source
        self._lock = threading.Lock()
        self._commands: dict[Colour, AsyncCommands | SyncCommands] = {}
        renew_in_children(self)

    def __repr__(self) -> str:
        return f"<Memcached {self.name}>"

    def using(self, colour: Colour) -> Commands:
        """The commands of one colour; always the same object.

        Raises:
            WrongColour: asynchronous ones of a client that was given.
        """
        if self._source.given and colour == "async":
            raise WrongColour(
                found="sync",
                wanted="async",
                what="asynchronous code",
                cure="use from_url(url), which serves both",
            )
        with self._lock:
            commands = self._commands.get(colour)
            if commands is None:
                commands = (AsyncCommands if colour == "async" else SyncCommands)(self._source)
                renew_in_children(commands)  # for itself: it may outlive its link
                self._commands[colour] = commands
        return commands

    def forked(self) -> None:
        # The commands renew themselves: two processes on one socket would read each other's replies.
        self._lock = threading.Lock()  # another thread of the parent may have held it
