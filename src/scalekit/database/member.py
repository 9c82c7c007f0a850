"""One server of the cluster: its engines, its connections, and what is known about its health.

Rules:

* A member has an engine for reading and one for writing, whatever its role is today: roles move, and a
  pool of read-only connections must not become a pool of writing ones.
* Every connection is known from the moment its socket is open, so that one that will never answer can be
  cut: whoever waits on it gets an error at once and can go elsewhere.
* Every connection is asked once who is at its other end, and remembered with the answer.
* A connection is used by the process, and on the event loop, that opened it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy import URL, Connection, NullPool, QueuePool
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from scalekit._forks import renew_in_children
from scalekit._steps import Steps
from scalekit.database.backends.protocol import Backend, Trouble
from scalekit.database.choice import number
from scalekit.database.commits import tell_outcomes
from scalekit.database.conflicts import tell_conflicts
from scalekit.database.drivers.protocol import Driver
from scalekit.database.engines import (
    AnyEngine,
    close_idle,
    describe,
    keep_to_loop,
    make_engine,
    name_of,
    sync_engine,
    watch,
    without_mode,
)
from scalekit.database.identity import Identity, objection
from scalekit.database.links import Links
from scalekit.database.report import Health, Report
from scalekit.database.tokens import Reached, Token
from scalekit.types import Colour

_NOTHING = Reached()


@dataclass(slots=True)
class Counters:
    """What has happened to a member since the process started; only ever more."""

    ejections: int = 0
    questions: int = 0
    repeats: int = 0
    cancellations: int = 0


# What drivers say to options that they do not know, of a URL for example; nobody else hears of it.
_MISCONFIGURED = (TypeError, ValueError)

# The errors that a member's trouble shows itself in.
Errors: TypeAlias = tuple[type[Exception], ...]


class Member:
    """A server.

    Args:
        url: where it is.
        colour: of its engines.
        backend: what kind of server it is; ``None`` for one that cannot have replicas.
        driver: how its driver does what SQLAlchemy has no word for; ``None`` for one that we do not know.
        single: there is no other member.
        connect_timeout: seconds that opening a connection may take.
        probe_timeout: seconds that an answer about its health may take.
        options: for ``create_engine``.
        weight: how many reads it gets, in proportion to the others.
        zone: where it is.
        pools: options of its pools that are its own.
    """

    def __init__(
        self,
        url: URL,
        *,
        colour: Colour,
        backend: Backend | None,
        driver: Driver | None,
        single: bool,
        connect_timeout: float,
        probe_timeout: float,
        options: dict[str, Any],
        weight: float = 1,
        zone: str | None = None,
        pools: dict[str, int] | None = None,
    ) -> None:
        self.name, self.url = name_of(url), url
        self.pools = pools or {}
        options = {**options, **self.pools}
        self.seed, self.weight, self.zone = number(self.name), weight, zone
        self.counters = Counters()
        self.health, self.identity = Health(), Identity()
        # Set by whoever knows them: the system and the epoch that a connection must lead to.
        self.expected: Callable[[], tuple[str | None, int]] = lambda: (None, 0)
        self.suspected: str | None = None
        self.refused = False
        self.transactions = self.commits = 0
        self.backend, self._driver, self._single = backend, driver, single
        self._connect_timeout, self._probe_timeout = connect_timeout, probe_timeout
        self.deadline = math.inf
        self.on_promotion: Callable[[], None] = _nobody_listens
        self.errors: Errors = (DBAPIError, OSError, *(driver.errors if driver else ()))
        self._probe_errors: Errors = (SQLAlchemyError, *_MISCONFIGURED, *self.errors)
        probing = {key: value for key, value in options.items() if not key.startswith(("pool", "max_over"))}
        probing |= {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT", "echo": False}
        self.capacity = _capacity(options)
        self.pool_timeout = float(options.get("pool_timeout", 30))
        if not single and "poolclass" not in options:
            # SQLAlchemy's pool does not wake those who wait for it when a connection fails to open; in short
            # waits they notice themselves that the member is out.
            options = {**options, "pool_timeout": min(self.pool_timeout, connect_timeout)}
        self.write_links, self.read_links, self.probe_links = Links(), Links(), Links()
        self.write_engine = self._engine(url, colour, options, self.write_links, read_only=False)
        self.writer = sync_engine(self.write_engine)
        self.read_engine = self.probe_engine = self.write_engine
        if not single:
            self.read_engine = self._engine(url, colour, options, self.read_links, read_only=True)
            self.probe_engine = self._engine(url, colour, probing, self.probe_links, read_only=True)
        self.reader = sync_engine(self.read_engine)
        self._probe: Any = None

    def __repr__(self) -> str:
        return f"<Member {self.name}>"

    @property
    def in_flight(self) -> int:
        """Connections in use."""
        return len(self.read_links.busy) + len(self.write_links.busy)

    @property
    def load(self) -> int:
        """How busy it is, for the choice between members."""
        return self.in_flight

    @property
    def reached(self) -> Reached:
        """What it is known to have."""
        report = self.health.report
        return report.reached if report is not None else _NOTHING

    @property
    def admitted(self) -> float:
        """When it was read from again after it had been out."""
        return self.health.admitted

    @property
    def order(self) -> int:
        """How far ahead of other members it is."""
        report = self.health.report
        return report.order if report is not None else 0

    def is_autocommit(self, connection: Connection) -> bool:
        """Whether each statement over ``connection`` is a transaction of its own."""
        assert self._driver is not None
        return self._driver.is_autocommit(connection.connection.dbapi_connection)

    def may_have_committed(self, connection: Connection) -> bool:
        """Whether the transaction on ``connection``, which is open, may have been ended by a statement."""
        assert self._driver is not None
        dbapi_connection = connection.connection.dbapi_connection
        return self._driver.implicit_commits or self._driver.is_idle(dbapi_connection)

    def trouble(self, error: DBAPIError) -> Trouble:
        """What ``error`` means for the transaction on this member that met it."""
        assert self.backend is not None
        assert self._driver is not None
        if error.connection_invalidated:
            return Trouble.GONE
        return self.backend.trouble(self._driver.code(error.orig)) if error.orig else Trouble.OTHER

    def refuses(self, error: BaseException) -> bool:
        """Whether ``error``, which came of connecting, will come again: a password or a name is wrong."""
        cause = (error.orig or error) if isinstance(error, DBAPIError) else error
        return (
            self.backend is not None
            and self._driver is not None
            and self.backend.trouble(self._driver.code(cause)) is Trouble.LOGIN
        )

    def ask(self) -> Steps[Report]:
        """Ask over the connection kept for it; opens one where there is none."""
        assert self.backend is not None
        if self._probe is None:
            # Connecting has its own time-out, but the set-up queries that follow have none.
            self.deadline = time.monotonic() + self._connect_timeout + self._probe_timeout
            self._probe = yield self.probe_engine.connect()
            self._check_version()
        asked = time.monotonic()
        self.deadline = asked + self._probe_timeout
        result = yield self._probe.exec_driver_sql(self.backend.question)
        self.deadline = math.inf
        return self.backend.report(tuple(result.one()), asked=asked)

    def _check_version(self) -> None:
        assert self.backend is not None
        found = sync_engine(self.probe_engine).dialect.server_version_info
        if found is not None and found < self.backend.oldest:
            version, oldest = (".".join(map(str, numbers)) for numbers in (found, self.backend.oldest))
            raise ConnectionError(
                f"{self.backend.name} {version} is too old, clusters with replicas need {oldest} or later"
            )

    def probe(self) -> Steps[Report | str]:
        """Ask, and when an old connection fails once more over a new one. A text says why both failed."""
        while True:
            fresh = self._probe is None
            try:
                report = yield from self.ask()
            except self._probe_errors as error:
                failure = describe(error)
                self.refused = self.refuses(error) or isinstance(error, _MISCONFIGURED)
            else:
                self.refused = False
                return report
            yield from self.hang_up(broken=True)
            if fresh:
                return failure

    def ask_over(self, connection: Any) -> Report:
        """What is said over the idle DBAPI ``connection`` for reading, outside a transaction."""
        assert self.backend is not None
        assert self._driver is not None
        self.counters.questions += 1
        last = self.introduction(connection)
        asked = time.monotonic()
        row = self._driver.ask(connection, self.backend.inline)
        report = self.backend.inline_report(row, asked=asked, last=last)
        if report is not None:
            return report
        asked = time.monotonic()
        return self.backend.report(self._driver.ask(connection, self.backend.question), asked=asked)

    def wait_over(self, connection: Any, token: Token, timeout: float) -> Report | None:
        """As :meth:`ask_over`, once the server has ``token`` or after ``timeout`` seconds.

        ``None``: it cannot be told to wait.
        """
        assert self.backend is not None
        assert self._driver is not None
        sql = self.backend.wait(token, last=self.introduction(connection), timeout=timeout)
        if sql is None:
            return None
        self._driver.ask(connection, sql)
        return self.ask_over(connection)

    def known_over(self, connection: Any) -> Report | None:
        """What is known of the server behind the DBAPI ``connection``, unless that is not the probe's."""
        report = self.health.report
        return report if report and report.server == self.introduction(connection).server else None

    def introduction(self, connection: Any) -> Report:
        """What the server behind the DBAPI ``connection`` said when that was opened.

        Raises:
            ConnectionError: it was closed meanwhile.
        """
        link = self.read_links.open.get(connection) or self.write_links.open.get(connection)
        if link is None or link.report is None:
            raise ConnectionError(f"the connection to {self.name} was closed")
        return link.report

    def _introduce(self, connection: Any, links: Links, *, read_only: bool) -> None:
        assert self.backend is not None
        assert self._driver is not None
        asked = time.monotonic()
        report = self.backend.report(self._driver.ask(connection, self.backend.question), asked=asked)
        system, epoch = self.expected()
        refused = objection(report, read_only=read_only, system=system, epoch=epoch)
        if refused is not None:
            raise ConnectionError(f"a connection to {self.name} {refused}")
        links.identified(connection, report)
        self.identity.met(report, self.health.report)

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
            yield close_idle(self.read_engine)

    def leave(self) -> Steps[None]:
        """It is no member any more: close every connection, those in use when they are given back."""
        self.read_links.closing = self.write_links.closing = True
        yield from self.hang_up(broken=False)
        yield from self.dispose()

    def dispose(self) -> Steps[None]:
        """Close every connection that is not in use, and the others when they are given back."""
        if self.health.failure is not None:
            self.cut_reads()
            self.cut_writes()
        for engine in self._engines():
            yield close_idle(engine)

    def forked(self) -> None:
        """Leave the connections to the process, or the event loop, that opened them."""
        for engine in self._engines():
            sync_engine(engine).dispose(close=False)
        for links in (self.write_links, self.read_links, self.probe_links):
            links.forget()
        self._probe = None

    def _engines(self) -> list[AnyEngine]:
        engines = (self.write_engine, self.read_engine, self.probe_engine)
        return list({id(engine): engine for engine in engines}.values())

    def _engine(
        self, url: URL, colour: Colour, options: dict[str, Any], links: Links, *, read_only: bool
    ) -> AnyEngine:
        probes = links is self.probe_links  # whose answers say all that is asked of the others
        engine = make_engine(url, colour=colour, options=without_mode(options) if read_only else options)
        driver = self._driver
        sync = sync_engine(engine)
        if driver is None or self.backend is None or self._single:
            if driver is not None and self.backend is not None:
                tell_outcomes(sync, driver, self.backend, name=self.name)
            if isinstance(sync.pool, QueuePool):  # others, such as an in-memory SQLite's, keep one for ever
                renew_in_children(self)
                keep_to_loop(sync)
            return engine
        watch(
            sync,
            self.backend,
            driver,
            links,
            name=self.name,
            connect_timeout=self._connect_timeout,
            read_only=read_only,
            promoted=self._promoted if read_only and not probes else None,
            introduce=None if probes else partial(self._introduce, links=links, read_only=read_only),
        )
        if read_only and not probes:
            tell_conflicts(sync, driver, self.backend, name=self.name, met=self._met_conflict)
        return engine

    def _met_conflict(self) -> None:
        self.counters.cancellations += 1

    def _promoted(self) -> None:
        report = self.health.report
        if report is not None and not report.writable:
            self.on_promotion()


def _nobody_listens() -> None:
    """Nobody is told of a promotion, but by asking."""


def _capacity(options: dict[str, Any]) -> int | None:
    """How many connections a pool made with ``options`` may have; ``None``: as many as are asked for."""
    size, overflow = options.get("pool_size", 5), options.get("max_overflow", 10)
    limited = issubclass(options.get("poolclass", QueuePool), QueuePool)
    return size + overflow if limited and size > 0 and overflow >= 0 else None
