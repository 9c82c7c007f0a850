"""Engines, and what is done at each of their connections' turns."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from sqlalchemy import URL, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import ArgumentError, DisconnectionError, InvalidRequestError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn, immutabledict

from scalekit.database.advice import missing_driver, right_colour
from scalekit.database.backends.protocol import Backend
from scalekit.database.commits import end_quietly, tell_outcomes
from scalekit.database.drivers.protocol import Driver
from scalekit.database.fallback import give_back
from scalekit.database.implicit import tell_doubts
from scalekit.database.links import Links
from scalekit.errors import ConfigurationError, WrongColour
from scalekit.types import Colour

AnyEngine: TypeAlias = Engine | AsyncEngine

_MODE = "postgresql_readonly"
"""SQLAlchemy's option for the mode of a connection's transactions, which goes before what it opened with."""

_POOL = "scalekit.pool"

_UNKNOWN = re.compile(r"unexpected keyword argument '(\w+)'")


def watch(
    engine: Engine,
    backend: Backend,
    driver: Driver,
    links: Links,
    *,
    name: str,
    connect_timeout: float,
    read_only: bool,
    promoted: Callable[[], None] | None = None,
    introduce: Callable[[Any], None] | None = None,
) -> None:
    """Prepare the connections of ``engine`` for what they are for, and keep ``links`` of them.

    Args:
        engine: of a member that can route.
        backend: what kind of server they lead to.
        driver: how its driver does what SQLAlchemy has no word for.
        links: where each connection is known from the moment its socket is open.
        name: the member's, for messages.
        connect_timeout: seconds that opening a connection may take.
        read_only: whether the connections must refuse to write.
        promoted: called when a connection for reading hears that its server is no replica. ``None``: the
            connections are for questions only, whose answers tell of all that too.
        introduce: asks over a new connection who is there; raises if it is not to be used.
    """

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
        given = driver.parameters(parameters, read_only=read_only, timeout=connect_timeout)
        connection = dialect.connect(*arguments, **given)
        # Known before anything is asked over it: the set-up queries may be the ones that hang.
        links.opened(connection, driver)
        try:
            driver.opened(connection, read_only=read_only)
            if promoted is not None and driver.told(connection).read_only is False:
                # A pooler dropped what we asked for. A SET would not do: it may reach others' connections.
                raise dialect.loaded_dbapi.OperationalError(
                    f"{name} does not open connections read-only, so they could write once it is promoted"
                )
            if introduce is not None:
                introduce(connection)
        except BaseException:
            driver.cut(connection)
            links.closed(connection)
            dialect.do_terminate(connection)  # no farewell; only what is left of it here
            raise
        return connection

    if read_only:
        end_quietly(engine, driver)
    else:
        tell_outcomes(engine, driver, backend, name=name)
        tell_doubts(engine, driver, backend)

    @event.listens_for(engine, "checkout")
    def checkout(connection: Any, record: Any, proxy: Any) -> None:
        # Costs no round trip: the server's farewell has arrived, if there was one. The pool makes a new
        # connection then, and no statement is lost to an old one.
        if driver.is_closed(connection):
            raise DisconnectionError(f"{name} hung up")
        record.info[_POOL] = proxy._pool
        links.taken(connection)

    if promoted is not None:
        # An option that is not known is not obeyed. Not even "read-only": SQLAlchemy sets the mode back to
        # READ WRITE afterwards. A listener would do, and would make each of SQLAlchemy's own steps slower.
        dialect: Any = engine.dialect
        known = dialect.connection_characteristics
        dialect.connection_characteristics = immutabledict({key: known[key] for key in known if key != _MODE})

    @event.listens_for(engine, "handle_error")
    def handle_error(context: ExceptionContext) -> None:
        if driver.lost(context.original_exception):
            context.is_disconnect = True

    @event.listens_for(engine, "checkin")
    def checkin(connection: Any, record: Any) -> None:
        give_back(record.info)
        links.given_back(connection)
        if promoted is not None and connection is not None:
            told = driver.told(connection)
            if told.standby is False:
                promoted()
            if told.read_only is False:
                record.close()  # it was set to write, which nobody else shall find
        # The pool was replaced meanwhile, or while somebody waited in it for this connection: nobody would
        # ever close what it is given back now.
        if record.info.pop(_POOL, None) is not engine.pool or links.closing:
            record.close()

    for gone in ("close", "close_detached", "invalidate"):
        event.listen(engine, gone, links.closed)


def without_mode(options: dict[str, Any]) -> dict[str, Any]:
    """``options`` for an engine whose connections are read-only, and are to stay so."""
    given = options.get("execution_options")
    if not given:
        return options
    return {**options, "execution_options": {key: given[key] for key in given if key != _MODE}}


def keep_to_loop(engine: Engine) -> None:
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
        raise ConfigurationError(missing_driver(url, colour, module=error.name)) from error
    except InvalidRequestError as error:
        if "is not async" not in str(error):
            raise ConfigurationError(f"no engine for {name_of(url)}: {error}") from error
        raise _wrong_colour(url, wanted="async") from error
    except (ArgumentError, TypeError) as error:
        raise ConfigurationError(f"no engine for {name_of(url)}: {error}") from error
    if colour == "sync" and engine.dialect.is_async:
        raise _wrong_colour(url, wanted="sync")
    return engine


def _wrong_colour(url: URL, *, wanted: Colour) -> WrongColour:
    found: Colour = "async" if wanted == "sync" else "sync"
    taker = "Cluster" if wanted == "sync" else "AsyncCluster"
    return WrongColour(
        found=found,
        wanted=wanted,
        what=f"{taker} ({url.drivername}://)",
        kind="driver",
        cure=right_colour(url, wanted),
    )


def name_of(url: URL) -> str:
    """How a member is called in messages: host, port and database, without credentials."""
    host, number = address(url)
    port = f":{number}" if number else ""
    database = url.database or ""
    return f"{host}{port}/{database}" if host else database or url.get_backend_name()


def address(url: URL) -> tuple[str, str]:
    """Host and port, wherever in ``url`` they are; several have commas between them."""
    query = url.query
    parts = query.get("hostaddr") or url.host or query.get("host", ""), url.port or query.get("port", "")
    host, port = (",".join(part) if isinstance(part, tuple) else str(part) for part in parts)
    return host, port


def describe(error: BaseException) -> str:
    """An error in one line, for people; drivers put no secrets into the first line."""
    cause = getattr(error, "orig", None) or error
    text = str(cause).strip() or "no answer in time"
    line = f"{type(cause).__name__}: {text.splitlines()[0]:.200}"
    unknown = _UNKNOWN.search(line) if isinstance(cause, TypeError) else None
    if unknown is None:
        return line
    return f"{line}; the driver has no option {unknown[1]}=, which is in the URL or in connect_args="


def close_idle(engine: AnyEngine) -> Any:
    """Close what nobody uses, and the rest when it is given back; to be awaited on an ``AsyncEngine``."""
    sync = sync_engine(engine)
    pool = sync.pool
    sync.dispose(close=False)  # first, so that what is given back from now on goes to no pool
    return pool.dispose() if sync is engine else greenlet_spawn(pool.dispose)


def sync_engine(engine: AnyEngine) -> Engine:
    """The engine behind an ``AsyncEngine``, or the engine itself."""
    return engine.sync_engine if isinstance(engine, AsyncEngine) else engine
