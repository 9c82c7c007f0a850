"""A cluster that a test plays with one server: where each statement would have gone.

The sessions and connections of the cluster run as they are. Only what they ask for servers is another: it
knows a primary and a replica that is never behind, and both are the same server.
"""

import time
from collections.abc import Callable
from typing import Any, Literal, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from scalekit.database.backends.protocol import Trouble
from scalekit.database.choice import Choice
from scalekit.database.fleet import Fleet
from scalekit.database.identity import Identity
from scalekit.database.member import Member
from scalekit.database.report import Health, Report
from scalekit.database.routing import Verdicts
from scalekit.database.sqltext.postgresql import RULES
from scalekit.database.tokens import Reached


class Rehearsal:
    """Stands in for the fleet of a cluster.

    Args:
        fleet: of the cluster. What is not answered here, it answers.
        member: the server that plays both.
    """

    single = False
    replicas_usable = True

    def __init__(self, fleet: Fleet, member: Member) -> None:
        self._fleet = fleet
        self.primary = StandIn(member, member.writer, name=member.name)
        # Another engine over the same pool, so that it can be told who sent a statement.
        self.replica = StandIn(member, member.writer.execution_options(), name=f"{member.name} as a replica")
        self.members = (self.primary, self.replica)
        self.readers = (self.replica,)
        # Of a kind without replicas, such as SQLite, statements are judged as PostgreSQL's would be.
        self.rules = member.backend.rules if member.backend is not None else RULES
        self.verdicts = getattr(fleet, "verdicts", None) or Verdicts(member.writer.dialect, self.rules)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fleet, name)

    def begin(self) -> None:
        """There is nobody to watch."""

    def writer(self, *_: Any, **__: Any) -> "StandIn":
        return self.primary

    def any_engine(self) -> Engine:
        return self.primary.writer

    def choose(self, level: Any, token: Any, without: frozenset[Any], **_: Any) -> Choice[Any] | None:
        return None if self.replica in without else Choice(self.replica, ask=None)

    def confirm(self, *_: Any) -> bool:
        return True

    def knows(self, *_: Any) -> bool:
        return True

    def suspect(self, member: "StandIn", reason: str) -> None:
        """It is the server of the test itself; there is no other."""

    def part(self, connection: Connection) -> tuple[Literal["primary", "replica"], str] | None:
        """Which of the two ``connection`` leads to, and its name; ``None``: it is another's."""
        engine: Any = connection.engine
        while engine is not None:
            if engine is self.replica.reader:
                return "replica", self.replica.name
            if engine is self.primary.writer:
                return "primary", self.primary.name
            engine = getattr(engine, "_proxied", None)  # made of that one, by execution_options()
        return None

    @property
    def as_fleet(self) -> Fleet:
        """For those who want the type."""
        return cast(Fleet, self)


class StandIn:
    """One of the two that a server plays. What is not answered here, ``member`` answers.

    Args:
        member: the server.
        engine: of this part.
        name: of this part.
    """

    def __init__(self, member: Member, engine: Engine, *, name: str) -> None:
        self._member = member
        self.reader = self.writer = engine
        self.name = name
        self.transactions = self.commits = 0
        self.backend = member.backend or object()
        self.identity = Identity()
        self._report = Report(
            asked=time.monotonic(),
            writable=False,
            reached=Reached(),
            epoch=0,
            order=0,
            written=None,
            flushed=None,
            flush_delay=0,
            server=name,
            shown="",
        )
        self.health = Health(self._report)
        self.introduction: Callable[[Any], Report] = lambda connection: self._report
        self.known_over = self.ask_over = self.introduction

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member, name)

    def is_autocommit(self, connection: Any) -> bool:
        return False

    def is_in_transaction(self, connection: Any) -> bool:
        return True

    def may_have_committed(self, connection: Any) -> bool:
        return False

    def trouble(self, error: DBAPIError) -> Trouble:
        return self._member.trouble(error) if self._member.backend is not None else Trouble.OTHER
