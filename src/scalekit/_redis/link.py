"""The link: a place where Redis commands go, in either colour."""

import threading
from collections.abc import Collection, Sequence
from typing import Any, Protocol, Self

from scalekit._forks import renew_in_children
from scalekit._limits import Limits
from scalekit._redis.aio import AsyncCommands
from scalekit._redis.clients import FromURL, Given, Source
from scalekit._redis.greeting import Greeting
from scalekit._redis.script import Confirm, Request, Script
from scalekit._redis.sync import SyncCommands
from scalekit._redis.url import parse
from scalekit._redis.wire import Argument
from scalekit.errors import WrongColour
from scalekit.types import Colour


class Commands(Protocol):
    """One colour of a link: each method gives a value (sync) or an awaitable of it (async)."""

    def execute(self, *args: Argument) -> Any:
        """Send one command, e.g. ``execute("SET", key, value, "EX", 60)``; one word an argument.

        On a Cluster ``args[1]`` (for ``EVAL``... the first key) decides which node gets it.

        Raises:
            BackendUnavailable: the server cannot be reached, the connection broke while the command was on
                its way, or the circuit breaker is open.
            BackendTimeout: no answer in time. A write may have been applied.
            redis.exceptions.ResponseError: the server refused this command.
            TypeError: an argument is neither str, bytes, int nor float.
        """

    def script(self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument] = ()) -> Any:
        """Run a Lua script with ``keys`` and ``args``; raises what :meth:`execute` raises."""

    def confirmed(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument], confirm: Confirm
    ) -> Any:
        """Run a Lua script, and have its connection wait until replicas have what it wrote: its reply, and
        how many of them have. One trip; raises what :meth:`execute` raises."""

    def pipeline(self, requests: Sequence[Request]) -> Any:
        """Send commands in one trip, on a Cluster one to each node at once; the list of their replies.

        They are no transaction: each goes its own way, and all have been answered when this ends.

        Raises:
            what :meth:`execute` raises, for the first in order that failed; the others may have been applied.
        """

    def elsewhere(self, keys: Sequence[str]) -> Collection[str]:
        """The servers that have none of ``keys``, as ``BackendError.backend`` names them: nodes of a Cluster,
        as far as they are known here. At once, in either colour."""
        ...

    def close(self) -> Any:
        """Release every connection that the link made; what is in flight fails. May be used again after."""


class Redis:
    """A place where Redis commands go.

    ``Redis(client)`` takes a redis-py client of either colour (also a Cluster's, or a Sentinel's
    ``master_for``) for its settings: where, as whom, over TLS or not, its time-outs (five seconds where it
    has none) and how many connections. The connections are ours and never retry; those of the client stay
    its owner's.
    """

    def __init__(self, client: Any, *, spare_callers: bool = False) -> None:
        self._begin(Given(client, spare_callers=spare_callers))

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        timeout: float = 1.0,
        connect_timeout: float = 0.5,
        max_connections: int = 32,
        cooldown: float = 1.0,
        spare_callers: bool = False,
    ) -> Self:
        """A link to the server, Sentinels or Cluster that ``url`` names; see :mod:`scalekit._redis.url`.

        Args:
            url: for instance ``redis://localhost:6379/0``.
            timeout: seconds that an answer may take, and each 64 KiB of a large one; sixty times as many
                for all of it.
            connect_timeout: seconds that connecting may take.
            max_connections: connections for threads; more threads wait, for ``timeout`` at most. An event
                loop uses two at a time (to each node of a Cluster), or one if this is 1.
            cooldown: seconds for which the circuit breaker refuses before it lets a probe through.
            spare_callers: a server that hangs costs no more callers than those who ask it first. The
                breaker's probe is then no caller's command but a PING of our own, sent when a caller is
                refused, the first after an eighth of ``cooldown``. And on an event loop connecting goes on
                when its callers have given up.

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
        link._begin(FromURL(parse(url), limits))
        return link

    def _begin(self, source: Source) -> None:
        self.name = source.name
        # Seconds that an answer may take.
        self.timeout = source.limits.timeout
        # Whether keys live in slots, so that a command has keys of one slot only.
        self.cluster = source.cluster
        self._source = source
        self._lock = threading.Lock()
        self._commands: dict[Colour, AsyncCommands | SyncCommands] = {}
        renew_in_children(self)

    def __repr__(self) -> str:
        return f"<Redis {self.name}>"

    def using(self, colour: Colour) -> Commands:
        """The commands of one colour; always the same object.

        Raises:
            WrongColour: the client that was given has the other one.
        """
        commands = self._commands.get(colour)
        if commands is None:
            given = self._source.colour
            if given is not None and given != colour:
                raise _wrong_colour(given, colour)
            with self._lock:
                commands = self._commands.get(colour)
                if commands is None:
                    commands = (AsyncCommands if colour == "async" else SyncCommands)(self._source)
                    renew_in_children(commands)  # for itself: it may outlive its link
                    self._commands[colour] = commands
        return commands

    def beside(
        self, *, max_connections: int, timeout: float, connect_timeout: float, cooldown: float
    ) -> "Redis":
        """Another link to the same place: a command that blocks holds up all that share its connection.

        It has no greeting.
        """
        link = type(self).__new__(type(self))
        link._begin(
            self._source.limited(
                Limits(
                    timeout=timeout,
                    connect_timeout=connect_timeout,
                    max_connections=max_connections,
                    cooldown=cooldown,
                )
            )
        )
        return link

    def greet(self, greeting: Greeting) -> None:
        """Have each new connection ask something first. Before the link is used; not on a Cluster."""
        self._source.greeting = greeting

    @property
    def colour(self) -> Colour | None:
        """The only colour it has, that of the client that was given; ``None``: it has both."""
        return self._source.colour

    def forked(self) -> None:
        # The commands renew themselves: two processes on one socket would read each other's replies.
        self._lock = threading.Lock()  # another thread of the parent may have held it


def _wrong_colour(found: Colour, wanted: Colour) -> WrongColour:
    caller, client = (
        ("synchronous code", "redis.Redis")
        if wanted == "sync"
        else ("asynchronous code", "redis.asyncio.Redis")
    )
    cure = f"pass a {client}, or use from_url(url), which serves both"
    return WrongColour(found=found, wanted=wanted, what=caller, cure=cure)
