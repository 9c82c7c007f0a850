"""What the rules need to know about a kind of server; one file a kind implements it.

Pure: SQL and answers in, facts out. How SQL gets there and back is the driver's business.
"""

from enum import Enum, auto
from typing import Any, Protocol

from scalekit.database.report import Report
from scalekit.database.sqltext.endings import Ending
from scalekit.database.sqltext.rules import TextRules
from scalekit.database.tokens import Token


class Trouble(Enum):
    """What an error code means for the transaction that met it."""

    WRITE_REFUSED = auto()
    """A write, where only reads are allowed."""

    FEATURE_REFUSED = auto()
    """Something that a replica cannot do, whether it writes or not."""

    CONFLICT = auto()
    """It lost against another transaction, or against the replay of one; it may be repeated as a whole."""

    GONE = auto()
    """The server is going away or not ready; the connection is of no more use."""

    FULL = auto()
    """The server is there, and has no connection left to give us."""

    LOGIN = auto()
    """The server does not let us in; trying again will not help."""

    SERVER_SAID_NO = auto()
    """Any other error of the server's own: the statement was not executed."""

    OTHER = auto()
    """No word of the server's: what became of the statement is not known."""


class Backend(Protocol):
    """A kind of server."""

    name: str
    """As it is written in documents; for messages."""

    question: str
    """What the probe asks: one row, which :meth:`report` reads."""

    inline: str
    """What a replica is asked before a read, on the same connection: one row for :meth:`inline_report`.
    May be cheaper than :attr:`question`, but has to tell the epoch and whether it still is a replica."""

    position: str
    """An SQL expression for where the log is right now, which :meth:`token` reads."""

    oldest: tuple[int, ...]
    """The first version that all of this works with."""

    conflict_cure: str
    """What to do about replicas that cancel reads often, for messages: "if that happens often, …"."""

    primary_only_isolation: frozenset[str]
    """Isolation levels, in upper case, that no replica can run."""

    rules: TextRules
    """What its SQL may do."""

    def ending(self, sql: str) -> Ending:
        """What may have been committed when ``sql`` has run."""
        ...

    def report(self, row: tuple[Any, ...], *, asked: float) -> Report:
        """The answer to :attr:`question`, which left at ``asked`` on the monotonic clock."""
        ...

    def inline_report(self, row: tuple[Any, ...], *, asked: float, last: Report) -> Report | None:
        """The answer to :attr:`inline`; what it does not tell is as in the ``last`` report of that server.

        ``None``: it is no replica any more, so that :attr:`question` has to be asked.
        """
        ...

    def wait(self, token: Token, *, last: Report, timeout: float) -> str | None:
        """SQL that a replica answers with a row as soon as it has ``token``, or after ``timeout`` seconds.

        ``None`` where there is none, by the ``last`` report of that server. What the row says does not count:
        :attr:`inline` is asked afterwards, which knows of epochs.
        """
        ...

    def token(self, said: str, *, last: Report) -> Token:
        """The place that :attr:`position` told: after a commit, with the ``last`` report of that server."""
        ...

    def is_read_only(self, code: str | int | None, message: str) -> bool:
        """Whether the error of a refused write says that the whole server is read-only."""
        ...

    def is_farewell(self, code: str | int | None) -> bool:
        """Whether the error ``code`` is the server's word that it ends the connection, for its own reason."""
        ...

    def trouble(self, code: str | int | None) -> Trouble:
        """What the error ``code`` of a driver means; ``None`` where an error has none."""
        ...
