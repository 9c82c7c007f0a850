"""One server of the cluster: its engines, its connections, and what is known about its health.

Rules:

* A member has an engine for reading and one for writing, whatever its role is today: roles move, and a
  pool of read-only connections must not become a pool of writing ones.
* Every connection is known from the moment its socket is open, so that one that will never answer can be
  cut: whoever waits on it gets an error at once and can go elsewhere.
* A connection is used by the process, and on the event loop, that opened it.
"""

import asyncio
import math
import threading
import time
from typing import Any, TypeAlias

from sqlalchemy import URL, Engine, ExceptionContext, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    InvalidRequestError,
    NoSuchModuleError,
    SQLAlchemyError,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from scalekit._forks import renew_in_children
from scalekit._steps import Steps
from scalekit.database._driver import Driver
from scalekit.database.commits import end_quietly, tell_positions
from scalekit.database.postgresql import QUESTION, read_report
from scalekit.database.topology import Health, Report
from scalekit.errors import ConfigurationError, WrongColour
from scalekit.types import Colour

AnyEngine: TypeAlias = Engine | AsyncEngine

# The errors that a member's trouble shows itself in.
Errors: TypeAlias = tuple[type[Exception], ...]


class Links:
    """The open connections of one engine.

    The garbage collector may close a forgotten connection in the middle of any of this, in the same thread:
    so the lock can be taken twice, and what is gone over is a copy.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start with none; they belong to another process or event loop."""
        self._lock = threading.RLock()
        self.open: dict[Any, float] = {}  # and when each was opened
        self.busy: set[Any] = set()

    def opened(self, connection: Any, driver: Driver) -> None:
        with self._lock:
            # One whose set-up failed is never reported closed. For the same reason it is not busy yet.
            for one in list(self.open):
                if driver.is_closed(one):
                    self.closed(one)
            self.open[connection] = time.monotonic()

    def closed(self, connection: Any, *_: Any) -> None:
        with self._lock:
            self.open.pop(connection, None)
            self.busy.discard(connection)

    def cut(self, driver: Driver, *, opened_before: float = math.inf) -> None:
        """Break every connection, the idle ones too."""
        # Under the lock, a connection cannot be closed and its descriptor reused in between.
        with self._lock:
            for connection, opened in list(self.open.items()):
                if opened < opened_before:
                    driver.cut(connection)


class Member:
    """A server.

    Args:
        url: where it is.
        colour: of its engines.
        driver: how its driver does what SQLAlchemy has no word for; ``None`` for a single server.
        connect_timeout: seconds that opening a connection may take.
        probe_timeout: seconds that an answer about its health may take.
        options: for ``create_engine``.
    """

    def __init__(
        self,
        url: URL,
        *,
        colour: Colour,
        driver: Driver | None,
        connect_timeout: float,
        probe_timeout: float,
        options: dict[str, Any],
    ) -> None:
        self.name = name_of(url)
        self.health = Health()
        self.suspected: str | None = None
        self.transactions = self.commits = 0
        self._driver = driver
        self._connect_timeout, self._probe_timeout = connect_timeout, probe_timeout
        self.deadline = math.inf
        self.errors: Errors = (DBAPIError, OSError, *(driver.errors if driver else ()))
        self._probe_errors: Errors = (SQLAlchemyError, *self.errors)
        probing = {key: value for key, value in options.items() if not key.startswith(("pool", "max_over"))}
        probing |= {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT", "echo": False}
        self.pool_timeout = float(options.get("pool_timeout", 30))
        if driver is not None and "poolclass" not in options:
            # SQLAlchemy's pool does not wake those who wait for it when a connection fails to open; in short
            # waits they notice themselves that the member is out.
            options = {**options, "pool_timeout": min(self.pool_timeout, connect_timeout)}
        self.write_links, self.read_links, self.probe_links = Links(), Links(), Links()
        self.write_engine = self._engine(url, colour, options, self.write_links, read_only=False)
        self.writer = _sync(self.write_engine)
        self.read_engine = self.probe_engine = self.write_engine
        if driver is not None:
            self.read_engine = self._engine(url, colour, options, self.read_links, read_only=True)
            self.probe_engine = self._engine(url, colour, probing, self.probe_links, read_only=True)
        self.reader = _sync(self.read_engine)
        self._probe: Any = None

    def __repr__(self) -> str:
        return f"<Member {self.name}>"

    @property
    def in_flight(self) -> int:
        """Connections in use."""
        return len(self.read_links.busy) + len(self.write_links.busy)

    def ask(self) -> Steps[Report]:
        """Ask over the connection kept for it; opens one where there is none."""
        if self._probe is None:
            # Connecting has its own time-out, but the set-up queries that follow have none.
            self.deadline = time.monotonic() + self._connect_timeout + self._probe_timeout
            self._probe = yield self.probe_engine.connect()
        asked = time.monotonic()
        self.deadline = asked + self._probe_timeout
        result = yield self._probe.exec_driver_sql(QUESTION)
        self.deadline = math.inf
        return read_report(tuple(result.one()), asked=asked)

    def probe(self) -> Steps[Report | str]:
        """Ask, and when an old connection fails once more over a new one. A text says why both failed."""
        while True:
            fresh = self._probe is None
            try:
                return (yield from self.ask())
            except self._probe_errors as error:
                failure = describe(error)
            yield from self.hang_up(broken=True)
            if fresh:
                return failure

    def ask_over(self, connection: Any) -> tuple[Any, ...]:
        """The answer to :data:`QUESTION` over the idle DBAPI ``connection``, outside a transaction."""
        assert self._driver is not None
        return self._driver.ask(connection, QUESTION)

    def hang_up(self, *, broken: bool) -> Steps[None]:
        """Close the connection that questions go over; a broken one without a farewell."""
        self.deadline = math.inf
        connection, self._probe = self._probe, None
        if connection is not None:
            if broken:
                yield connection.invalidate()
            yield connection.close()

    def time_left(self) -> float:
        """Seconds until the question under way is late; infinite when none is."""
        return self.deadline - time.monotonic()

    def is_late(self) -> bool:
        """Whether the question under way should have been answered."""
        return self.deadline < time.monotonic()

    def cut_probe(self) -> None:
        """Break the connection that questions go over: the one under way fails."""
        if self._driver is not None:
            self.probe_links.cut(self._driver)

    def cut_reads(self) -> None:
        """Break the connections for reading: their server does not answer any more."""
        if self._driver is not None:
            self.read_links.cut(self._driver)

    def cut_writes(self) -> None:
        """Break the connections for writing: their server was replaced."""
        if self._driver is not None:
            self.write_links.cut(self._driver)

    def cut_older(self, moment: float) -> None:
        """Break the connections opened before ``moment``: the server process they led to is no more.

        The pools notice when they are asked for one, and open another.
        """
        if self._driver is not None:
            self.read_links.cut(self._driver, opened_before=moment)
            self.write_links.cut(self._driver, opened_before=moment)

    def drop_idle_readers(self) -> Steps[None]:
        """Close what is left in the pool for reading, on a member that became the primary."""
        if self.read_links.open.keys() - self.read_links.busy:
            yield self.read_engine.dispose()

    def dispose(self) -> Steps[None]:
        """Close every connection that is not in use."""
        if self.health.failure is not None:
            self.cut_reads()
            self.cut_writes()
        for engine in self._engines():
            yield engine.dispose()

    def forked(self) -> None:
        """Leave the connections to the process, or the event loop, that opened them."""
        for engine in self._engines():
            _sync(engine).dispose(close=False)
        for links in (self.write_links, self.read_links, self.probe_links):
            links.forget()
        self._probe = None

    def _engines(self) -> list[AnyEngine]:
        engines = (self.write_engine, self.read_engine, self.probe_engine)
        return list({id(engine): engine for engine in engines}.values())

    def _engine(
        self, url: URL, colour: Colour, options: dict[str, Any], links: Links, *, read_only: bool
    ) -> AnyEngine:
        engine = make_engine(url, colour=colour, options=options)
        driver = self._driver
        sync = _sync(engine)
        if driver is None:
            if isinstance(sync.pool, QueuePool):  # others, such as an in-memory SQLite's, keep one for ever
                renew_in_children(self)
                _keep_to_loop(sync)
            return engine

        @event.listens_for(sync, "do_connect")
        def connect(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
            given = driver.parameters(parameters, read_only=read_only, timeout=self._connect_timeout)
            connection = dialect.connect(*arguments, **given)
            # Known before anything is asked over it: the set-up queries may be the ones that hang.
            links.opened(connection, driver)
            try:
                driver.opened(connection, read_only=read_only)
            except BaseException:
                driver.cut(connection)
                links.closed(connection)
                raise
            return connection

        (end_quietly if read_only else tell_positions)(sync, driver)

        @event.listens_for(sync, "checkout")
        def checkout(connection: Any, *_: Any) -> None:
            # Costs no round trip: the server's farewell has arrived, if there was one. The pool makes a new
            # connection then, and no statement is lost to an old one.
            if driver.is_closed(connection):
                raise DisconnectionError(f"{self.name} hung up")
            links.busy.add(connection)

        @event.listens_for(sync, "handle_error")
        def handle_error(context: ExceptionContext) -> None:
            if driver.lost(context.original_exception):
                context.is_disconnect = True

        event.listen(sync, "checkin", lambda connection, *_: links.busy.discard(connection))
        for gone in ("close", "close_detached", "invalidate"):
            event.listen(sync, gone, links.closed)
        return engine


def _keep_to_loop(engine: Engine) -> None:
    """Let a connection that another event loop opened be replaced; SQLite's have a thread, and no loop."""
    if not engine.dialect.is_async or engine.dialect.name == "sqlite":
        return

    @event.listens_for(engine, "checkout")
    def checkout(connection: Any, record: Any, proxy: Any) -> None:
        loop = asyncio.get_running_loop()
        if record.info.setdefault("scalekit.loop", loop) is not loop:
            # Not closed, which that loop alone could do.
            record.dbapi_connection = proxy.dbapi_connection = None
            raise DisconnectionError("opened on another event loop")


def make_engine(url: URL, *, colour: Colour, options: dict[str, Any]) -> AnyEngine:
    """An engine of the wanted colour.

    Raises:
        ConfigurationError: an unknown dialect, driver or option. Never quotes the password.
        WrongColour: a driver of the other colour.
    """
    engine: AnyEngine
    try:
        engine = create_engine(url, **options) if colour == "sync" else create_async_engine(url, **options)
    except NoSuchModuleError as error:
        raise ConfigurationError(f"SQLAlchemy knows no {url.drivername}:// databases") from error
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{url.drivername}:// needs its driver: pip install {error.name}") from error
    except InvalidRequestError as error:
        if "is not async" not in str(error):
            raise ConfigurationError(f"no engine for {name_of(url)}: {error}") from error
        raise WrongColour(found="sync", wanted="async", what=f"AsyncCluster ({url.drivername}://)") from error
    except (ArgumentError, TypeError) as error:
        raise ConfigurationError(f"no engine for {name_of(url)}: {error}") from error
    if colour == "sync" and engine.dialect.is_async:
        raise WrongColour(found="async", wanted="sync", what=f"Cluster ({url.drivername}://)")
    return engine


def name_of(url: URL) -> str:
    """How a member is called in messages: host, port and database, without credentials."""
    host = url.host or str(url.query.get("host", "")) or ""
    port = f":{url.port}" if url.port else ""
    database = url.database or ""
    return f"{host}{port}/{database}" if host else database or url.get_backend_name()


def describe(error: BaseException) -> str:
    """An error in one line, for people; drivers put no secrets into the first line."""
    cause = getattr(error, "orig", None) or error
    text = str(cause).strip() or "no answer in time"
    return f"{type(cause).__name__}: {text.splitlines()[0]:.200}"


def _sync(engine: AnyEngine) -> Engine:
    return engine.sync_engine if isinstance(engine, AsyncEngine) else engine
