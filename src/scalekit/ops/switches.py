"""Switches for the whole fleet, flipped while it runs and kept in Redis; needs the extra ``redis``.

::

    switches = Switches.from_url("redis://localhost:6379/0")
    app.add_middleware(ReadOnlyMiddleware, switches=switches)         # of scalekit.ops.asgi, or .wsgi
    cache = Cache(backend, ttl_factor=switches.cache_factor)

They are flipped by ``scalekit switches`` or by a call on any server, and all others follow within
``interval``.

Rules:

* No request asks Redis. A daemon thread of each process looks, and whoever asks is told what it saw last.
* While Redis cannot be reached everything stays as it was seen last. A switch that was flipped for a time
  goes back at its end nevertheless.
* A key that holds no value for its switch leaves that one as it was seen last, and the other follows Redis:
  rubbish must neither open the shop for writes nor close it. To flip the switch mends the key.
* A process that has never seen Redis has every switch off: an outage of Redis must not close the shop.
* A child of a fork looks for itself.
"""

import itertools
import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeAlias, Unpack

from scalekit._durations import Duration, seconds
from scalekit._forks import renew_in_children
from scalekit._options import LinkOptions, check_names, check_text
from scalekit._redis import Redis, Request, ResponseError
from scalekit.errors import BackendError, BackendUnavailable, ConfigurationError
from scalekit.metrics import Metric, gauge
from scalekit.ops._switch import CACHE_FACTOR, MAX_FACTOR, NAMES, READ_ONLY, NoValue, parse, spell
from scalekit.ops._switch import Switch as Switch

_log = logging.getLogger("scalekit.ops")

_Answer: TypeAlias = Switch | Exception | None


class Switches:
    """The switches, as this process knows them. For threads, and for any number of event loops.

    Args:
        client: a synchronous redis-py client: a server's, a Cluster's, or a Sentinel's ``master_for``.
        name: what the keys begin with. Fleets that share a Redis each need one of their own.
        interval: seconds, or a ``timedelta``, between two looks; default 1.

    Raises:
        ConfigurationError: one of these is not usable.
        WrongColour: the client is an asynchronous one. Threads look, for applications of both colours.
    """

    def __init__(self, client: Any, *, name: str = "scalekit:switches", interval: Duration = 1.0) -> None:
        check_text(name, option="name=", wanted="what keys begin with, such as 'shop:switches'")
        self._link = client if isinstance(client, Redis) else Redis(client)
        self._commands = self._link.using("sync")
        # In braces, for a Cluster keeps together what is in the same ones.
        self._keys = {switch: f"{{{name}}}:{switch}" for switch in NAMES}
        self._interval = seconds(interval, name="interval", minimum=0.01)
        self._seen: dict[str, Switch] = {}
        #: Why a switch could not be read at the last look, by its name; it stays as it was seen before.
        self.unread: dict[str, str] = {}
        self.forked()
        renew_in_children(self)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        name: str = "scalekit:switches",
        interval: Duration = 1.0,
        **options: Unpack[LinkOptions],
    ) -> Self:
        """Switches at a URL: ``redis``, ``rediss``, ``unix``, ``redis+sentinel`` or ``redis+cluster``.

        Args:
            url: for instance ``redis://localhost:6379/0``.
            name: as for the class.
            interval: as for the class.
            options: ``timeout`` (1 s), ``connect_timeout`` (0.5 s), ``max_connections`` and ``cooldown``.

        Raises:
            ConfigurationError: the URL or an option is wrong. The message does not quote the URL.
        """
        check_names(options, LinkOptions, taker=f"{cls.__name__}.from_url", named=["name", "interval"])
        return cls(Redis.from_url(url, **options), name=name, interval=interval)

    def forked(self) -> None:
        """See :func:`scalekit._forks.renew_in_children`."""
        self._lock = threading.Lock()
        self._order = threading.RLock()  # handlers of the log may look as well
        self._looks = itertools.count(1)
        self._newest = 0
        self._looked = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._away = False

    def is_read_only(self) -> bool:
        """Whether nothing may be changed now."""
        return self._value(READ_ONLY, 0.0) != 0.0

    def cache_factor(self) -> float:
        """By how much longer results are to be cached now; 1 as ever."""
        return self._value(CACHE_FACTOR, 1.0)

    def read_only_left(self) -> float | None:
        """Seconds until read-only mode ends by itself; ``None`` if it does not, or is off."""
        switch = self._seen.get(READ_ONLY)
        left = math.inf if switch is None else switch.ends - time.monotonic()
        return left if 0 < left < math.inf else None

    def metrics(self) -> Iterator[Metric]:
        """How this process sees them, see :class:`scalekit.metrics.Measured`. Begins no look."""
        now = time.monotonic()
        seen = {name: switch.value for name, switch in list(self._seen.items()) if switch.ends > now}
        yield gauge("scalekit_switch_read_only", "Whether nothing may be changed.", seen.get(READ_ONLY, 0.0))
        factor = seen.get(CACHE_FACTOR, 1.0)
        yield gauge("scalekit_switch_cache_factor", "By how much longer results are cached.", factor)

    def set_read_only(self, on: bool, *, lasting: Duration | None = None) -> None:
        """Flip read-only mode, for all servers, one round trip. In a coroutine: ``asyncio.to_thread``.

        Args:
            on: whether nothing may be changed.
            lasting: seconds, or a ``timedelta``, after which it goes back by itself; never without.

        Raises:
            BackendError: Redis could not be told.
        """
        self._flip(READ_ONLY, "1" if on else None, lasting)

    def set_cache_factor(self, factor: float, *, lasting: Duration | None = None) -> None:
        """Have results cached ``factor`` times as long, as of when they are stored; 1 is as ever.

        Args:
            factor: above 0, and 1,000 at most.
            lasting: as for :meth:`set_read_only`.

        Raises:
            BackendError: Redis could not be told.
            ConfigurationError: the factor is out of range.
        """
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not number or not 0 < factor <= MAX_FACTOR:
            raise ConfigurationError(
                f"factor={factor!r:.40} must be a number above 0, and {MAX_FACTOR:g} at most; 1 is as ever"
            )
        self._flip(CACHE_FACTOR, None if factor == 1 else repr(float(factor)), lasting)

    def look(self) -> dict[str, Switch]:
        """Ask Redis now: the switches that are on, by name. What is in force here follows.

        One whose key has no value for it is among them as it was seen last; :attr:`unread` says why.

        Raises:
            BackendError: it could not be asked, or refuses all of them.
        """
        found, unread = {}, {}
        number = next(self._looks)
        with self._refused():
            answers = self._ask()
        with self._order:
            for name, answer in answers.items():
                if isinstance(answer, Switch):
                    found[name] = answer
                elif answer is not None:
                    unread[name] = str(answer)
                    last = self._seen.get(name)
                    if last is not None and last.ends > time.monotonic():
                        found[name] = last
            # One that was overtaken may have asked before a switch was flipped here, which is in force.
            if number > self._newest:
                self._tell(found, unread)
                self._newest, self.unread, self._seen = number, unread, found
        self._looked.set()
        return found

    def _ask(self) -> dict[str, _Answer]:
        """How each switch stands, ``None`` for off, or why nobody knows."""
        try:
            return self._ask_for(self._keys)
        except ResponseError:  # of one of them, perhaps
            answers: dict[str, _Answer] = {}
        refusals = []
        for name in self._keys:
            try:
                answers |= self._ask_for([name])
            except ResponseError as error:
                refusals.append(error)
                answers[name] = error
        if len(refusals) == len(self._keys):
            raise refusals[0]
        return answers

    def _ask_for(self, names: Iterable[str]) -> dict[str, _Answer]:
        requests = [Request((command, self._keys[name])) for name in names for command in ("GET", "PTTL")]
        asked = time.monotonic()
        replies = self._commands.pipeline(requests)
        answers: dict[str, _Answer] = {}
        for name, raw, left in zip(names, replies[::2], replies[1::2], strict=True):
            try:
                answers[name] = parse(name, raw, left, asked=asked)
            except NoValue as error:
                answers[name] = error
        return answers

    def start(self, wait: float = 0.0) -> bool:
        """Begin to look; once is enough, and the middleware does it. Whether it has looked by now.

        Args:
            wait: seconds to wait for the first look at most.
        """
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._closed.is_set():
                    self._thread = threading.Thread(target=self._watch, name="switches", daemon=True)
                    self._thread.start()
        return self._looked.wait(wait) if wait else self._looked.is_set()

    def close(self) -> None:
        """Stop looking, and close the connection. What was seen last stays in force."""
        self._closed.set()
        self._looked.set()  # nobody is to wait for what does not come any more
        with self._lock:  # one that is being made has begun by then
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._commands.close()

    def _value(self, name: str, default: float) -> float:
        if self._thread is None:
            self.start()
        switch = self._seen.get(name)
        return default if switch is None or switch.ends <= time.monotonic() else switch.value

    def _flip(self, name: str, value: str | None, lasting: Duration | None) -> None:
        command: tuple[str | int, ...] = ("DEL", self._keys[name])
        if value is not None:
            command = ("SET", self._keys[name], value)
            if lasting is not None:
                left = seconds(lasting, name="lasting", minimum=0.001)
                command += ("PX", math.ceil(left * 1000))
        with self._refused():
            self._commands.execute(*command)
        self.look()

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except ResponseError as error:  # no permission, or something else is kept under that name
            raise BackendUnavailable(
                f"{self._link.name} refused: {error}", backend=self._link.name
            ) from error

    def _watch(self) -> None:
        closed = self._closed  # a child of a fork gets another
        while not closed.is_set():
            try:
                self.look()
            # Whatever it is, such as a provider of passwords that fails: without this thread no switch could
            # be flipped here any more.
            except Exception as error:  # noqa: BLE001
                if not self._away:
                    self._away = True
                    told = error if isinstance(error, BackendError) else type(error).__name__
                    _log.warning("switches: %s; they stay as they were seen last", told)
                self._looked.set()  # nobody is to wait for what is away
            else:
                if self._away:
                    self._away = False
                    _log.warning("switches: Redis answers again")
            closed.wait(self._interval)

    def _tell(self, found: dict[str, Switch], unread: dict[str, str]) -> None:
        for name in self._keys:
            if name in unread and name not in self.unread:
                _log.warning(
                    "switches: %s stays as it was seen last, as its key %s has no value (%s); flip it",
                    *(name, self._keys[name], unread[name]),
                )
            elif name in self.unread and name not in unread:
                _log.warning("switches: %s can be read again", name)
            before, now = self._seen.get(name), found.get(name)
            if (before and before.value) != (now and now.value):
                _log.warning("switches: %s is %s", name, spell(name, now))
