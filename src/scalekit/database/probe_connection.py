"""The connection that the questions to one member go over, and how long an answer may take.

Rules:

* Every question has a deadline, connecting included. Who watches it cuts the connection when it has passed,
  which makes the question fail.
* A question that fails over an old connection is asked once more over a new one; only the second failure is
  the member's.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from sqlalchemy import NullPool
from sqlalchemy.exc import SQLAlchemyError

from scalekit._steps import Steps
from scalekit.database.backends.protocol import Backend, Trouble
from scalekit.database.engines import describe
from scalekit.database.pools import Pool
from scalekit.database.report import Report

# The errors that a member's trouble shows itself in.
Errors: TypeAlias = tuple[type[Exception], ...]

# What drivers say to options that they do not know, of a URL for example; nobody else hears of it.
_MISCONFIGURED = (TypeError, ValueError)


class Probe:
    """Asks one member how it is.

    Args:
        pool: of connections for questions.
        backend: what kind of server it is; ``None`` for one that is never asked.
        errors: that its driver raises.
        means: what such an error, of connecting, means.
        connect_timeout: seconds that opening a connection may take.
        timeout: seconds that an answer may take.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        backend: Backend | None,
        errors: Errors,
        means: Callable[[BaseException], Trouble],
        connect_timeout: float,
        timeout: float,
    ) -> None:
        self.pool, self._backend = pool, backend
        self._errors: Errors = (SQLAlchemyError, *_MISCONFIGURED, *errors)
        self._means = means
        self._connect_timeout, self._timeout = connect_timeout, timeout
        self.refused = False
        """It lets nobody in as this user, or the driver does not know an option: asking again is no use."""
        self.full = False
        """It has no connection left for the question: it is there, and says nothing else."""
        self._deadline = math.inf
        self._connection: Any = None
        self._opened = math.inf

    def ask(self, doubt: Callable[[str], None]) -> Steps[Report | str]:
        """Ask, and when an old connection fails once more over a new one. A text says why both failed.

        Args:
            doubt: is told why the old one failed, before the new one is tried.
        """
        while True:
            fresh = self._connection is None
            try:
                report = yield from self._ask_once()
            except self._errors as error:
                failure = describe(error)
                trouble = self._means(error)
                self.refused = trouble is Trouble.LOGIN or isinstance(error, _MISCONFIGURED)
                self.full = trouble is Trouble.FULL
            else:
                self.refused = self.full = False
                return report
            if not fresh:
                doubt(failure)
            yield from self.hang_up(broken=True)
            if fresh:
                return failure

    def _ask_once(self) -> Steps[Report]:
        assert self._backend is not None
        if self._connection is None:
            # Connecting has its own time-out, but the set-up queries that follow have none.
            self._deadline = time.monotonic() + self._connect_timeout + self._timeout
            self._connection = yield self.pool.engine.connect()
            self._opened = time.monotonic()
            self._check_version()
        asked = time.monotonic()
        self._deadline = asked + self._timeout
        result = yield self._connection.exec_driver_sql(self._backend.question)
        self._deadline = math.inf
        return replace(self._backend.report(tuple(result.one()), asked=asked), since=self._opened)

    def _check_version(self) -> None:
        assert self._backend is not None
        found = self.pool.sync.dialect.server_version_info
        if found is not None and found < self._backend.oldest:
            version, oldest = (".".join(map(str, numbers)) for numbers in (found, self._backend.oldest))
            raise ConnectionError(
                f"{self._backend.name} {version} is too old, clusters with replicas need {oldest} or later"
            )

    def time_left(self) -> float:
        """Seconds until the question under way is late; infinite when none is."""
        return self._deadline - time.monotonic()

    def is_late(self) -> bool:
        """Whether the question under way should have been answered."""
        return self._deadline < time.monotonic()

    def cut(self) -> None:
        """Break the connection: the question under way fails."""
        self.pool.cut()

    def hang_up(self, *, broken: bool) -> Steps[None]:
        """Close the connection; a broken one without a farewell."""
        self._deadline = math.inf
        connection, self._connection = self._connection, None
        if connection is not None:
            if broken:
                yield connection.invalidate()
            yield connection.close()

    def forget(self) -> None:
        """The connection belongs to another process, or event loop; it is left to that."""
        self._connection = None


def options_for_probes(options: dict[str, Any]) -> dict[str, Any]:
    """Of ``options`` for ``create_engine``, those for a pool of connections for questions."""
    kept = {key: value for key, value in options.items() if not key.startswith(("pool", "max_over"))}
    return kept | {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT", "echo": False}
