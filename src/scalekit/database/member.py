"""One server of the cluster: its engines, its connections, and what is known about its health.

Rules:

* A member has an engine for reading and one for writing, whatever its role is today: roles move, and a
  pool of read-only connections must not become a pool of writing ones.
* Every connection is asked once who is at its other end, and remembered with the answer.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from scalekit._steps import Steps
from scalekit.database.autocommit import send_alone
from scalekit.database.backends.protocol import Backend, Trouble
from scalekit.database.choice import number
from scalekit.database.drivers.protocol import Driver
from scalekit.database.engines import name_of
from scalekit.database.identity import Identity, objection
from scalekit.database.links import Links
from scalekit.database.pools import Pool, capacity, lone_pool, watched_pool
from scalekit.database.probe_connection import Errors, Probe, options_for_probes
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
        autocommit_reads: whether sessions' reads are sent without a transaction around them.
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
        autocommit_reads: bool = False,
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
        # Set by whoever knows them: the system, the epoch and the origins that a connection must lead to.
        self.expected: Callable[[], tuple[str | None, int, frozenset[str]]] = lambda: (None, 0, frozenset())
        self.suspected: str | None = None
        self.told_full = False  # people were told that it has no connection left for questions
        self.transactions = self.commits = 0
        self.backend, self._driver = backend, driver
        self.on_promotion: Callable[[], None] = _nobody_listens
        self.errors: Errors = (DBAPIError, OSError, *(driver.errors if driver else ()))
        self.capacity = capacity(options)
        self.pool_timeout = float(options.get("pool_timeout", 30))
        probing = options_for_probes(options)
        if not single and "poolclass" not in options:
            # SQLAlchemy's pool does not wake those who wait for it when a connection fails to open; in short
            # waits they notice themselves that the member is out. Each time they stand at the end again.
            options = {**options, "pool_timeout": min(self.pool_timeout, connect_timeout)}
        if single or backend is None or driver is None:
            self.write = self.read = asking = lone_pool(
                url, colour=colour, options=options, name=self.name, backend=backend, driver=driver
            )
        else:
            pool = partial(
                watched_pool,
                url,
                colour=colour,
                name=self.name,
                backend=backend,
                driver=driver,
                connect_timeout=connect_timeout,
            )
            self.write = pool(
                options=options, read_only=False, introduce=partial(self._introduce, read_only=False)
            )
            self.read = pool(
                options=options,
                read_only=True,
                introduce=partial(self._introduce, read_only=True),
                promoted=self._promoted,
                cancelled=self._met_conflict,
            )
            if autocommit_reads:
                send_alone(self.read.sync, driver, backend.rules, name=self.name)
            asking = pool(options=probing, read_only=True)
        self.writer, self.reader = self.write.sync, self.read.sync
        self._writing, self._reading = self.write.links, self.read.links
        self.probe = Probe(
            asking,
            backend=backend,
            errors=self.errors,
            means=self.means,
            connect_timeout=connect_timeout,
            timeout=probe_timeout,
        )

    def __repr__(self) -> str:
        return f"<Member {self.name}>"

    @property
    def in_flight(self) -> int:
        """Connections in use."""
        return len(self._reading.busy) + len(self._writing.busy)

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

    def is_in_transaction(self, connection: Connection) -> bool:
        """Whether statements over ``connection``, which only reads, share a transaction. Asks nobody."""
        assert self._driver is not None
        dbapi_connection = connection.connection.dbapi_connection
        return not (
            self._driver.is_autocommit(dbapi_connection) and self._driver.is_between(dbapi_connection)
        )

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

    def fell_silent(self, error: DBAPIError) -> bool:
        """Whether the connection ended without a word: what ran over it may be the reason."""
        assert self.backend is not None
        assert self._driver is not None
        return self.trouble(error) is Trouble.GONE and not (
            error.orig is not None and self.backend.is_farewell(self._driver.code(error.orig))
        )

    def blames_statement(self, error: DBAPIError) -> bool:
        """Whether this member would refuse the same statement again, in whatever transaction it is."""
        assert self._driver is not None
        return error.orig is not None and self._driver.blames_statement(error.orig)

    def means(self, error: BaseException) -> Trouble:
        """What ``error``, which came of connecting, means."""
        cause = (error.orig or error) if isinstance(error, DBAPIError) else error
        if self.backend is None or self._driver is None:
            return Trouble.OTHER
        return self.backend.trouble(self._driver.code(cause))

    def ask_over(self, connection: Any) -> Report:
        """What is said over the idle DBAPI ``connection`` for reading, outside a transaction."""
        assert self.backend is not None
        assert self._driver is not None
        self.counters.questions += 1
        last = self.introduction(connection)
        asked = time.monotonic()
        row = self._driver.ask(connection, self.backend.inline)
        report = self.backend.inline_report(row, asked=asked, last=last)
        if report is None:
            asked = time.monotonic()
            report = self.backend.report(self._driver.ask(connection, self.backend.question), asked=asked)
        return report if report.since == last.since else replace(report, since=last.since)

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
        """What is known of the server behind the DBAPI ``connection``, unless that is not the probe's.

        What somebody was told before the ``connection`` was opened may be from before a crash.
        """
        report, own = self.health.report, self.introduction(connection)
        if report is None or report.server != own.server:
            return None
        return report if report.asked >= own.since else own

    def reached_over(self, connection: Any) -> Reached:
        """What the server behind the DBAPI ``connection`` is known to have; nothing, if that is closed."""
        try:
            return (self.known_over(connection) or self.introduction(connection)).reached
        except ConnectionError:
            return Reached()

    def introduction(self, connection: Any) -> Report:
        """What the server behind the DBAPI ``connection`` said when that was opened.

        Raises:
            ConnectionError: it was closed meanwhile.
        """
        link = self._reading.open.get(connection) or self._writing.open.get(connection)
        if link is None or link.report is None:
            raise ConnectionError(f"the connection to {self.name} was closed")
        return link.report

    def _introduce(self, connection: Any, links: Links, *, read_only: bool) -> None:
        assert self.backend is not None
        assert self._driver is not None
        asked = time.monotonic()
        report = self.backend.report(self._driver.ask(connection, self.backend.question), asked=asked)
        system, epoch, origins = self.expected()
        refused = objection(report, read_only=read_only, system=system, epoch=epoch, origins=origins)
        if refused is not None:
            raise ConnectionError(f"a connection to {self.name} {refused}")
        links.identified(connection, report)
        self.identity.met(report, self.health.report)

    def cut_reads(self) -> None:
        """Break the connections for reading: their server does not answer any more."""
        self.read.cut()

    def cut_writes(self) -> None:
        """Break the connections for writing: their server was replaced."""
        self.write.cut()

    def cut_older(self, moment: float) -> None:
        """Break the connections opened before ``moment``: the server process they led to is no more.

        The pools notice when they are asked for one, and open another.
        """
        self.read.cut(opened_before=moment)
        self.write.cut(opened_before=moment)

    def drop_idle_readers(self) -> Steps[None]:
        """Close what is left in the pool for reading, on a member that became the primary."""
        if self._reading.open.keys() - self._reading.busy:
            yield from self.read.close_idle()

    def leave(self) -> Steps[None]:
        """It is no member any more: close every connection, those in use when they are given back."""
        self._reading.closing = self._writing.closing = True
        yield from self.probe.hang_up(broken=False)
        yield from self.dispose()

    def dispose(self) -> Steps[None]:
        """Close every connection that is not in use, and the others when they are given back."""
        if self.health.failure is not None:
            self.cut_reads()
            self.cut_writes()
        for pool in self._every_pool():
            yield from pool.close_idle()

    def forked(self) -> None:
        """Leave the connections to the process, or the event loop, that opened them."""
        for pool in self._every_pool():
            pool.forked()
        self.probe.forget()

    def _every_pool(self) -> list[Pool]:
        return list(dict.fromkeys((self.write, self.read, self.probe.pool)))

    def _met_conflict(self) -> None:
        self.counters.cancellations += 1

    def _promoted(self) -> None:
        report = self.health.report
        if report is not None and not report.writable:
            self.on_promotion()


def _nobody_listens() -> None:
    """Nobody is told of a promotion, but by asking."""
