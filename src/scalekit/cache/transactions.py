"""What one transaction on one connection has changed so far, and of what the cache was told already.

Rules:

* What a savepoint that is rolled back has changed is taken back, with what was changed in those inside it.
  SQLAlchemy numbers the savepoints of a connection, upwards: all that was changed since one began has its
  number or a higher one. Released, it needs no mention: whatever encloses it has a lower number.
* What was *marked* is bumped when the transaction has ended, however. Except where its outcome is still to
  come: a COMMIT under which the connection was lost may arrive later, and what is prepared may be committed
  by others. Those marks end by themselves.
"""

import secrets
from collections.abc import Set
from typing import Any

from scalekit.cache.dirty import Dirty
from scalekit.cache.versions import WRITER_BYTES


class Transaction:
    """One transaction, from its beginning until the cache was told of its end.

    Args:
        began: when (monotonic).
    """

    __slots__ = (
        "_levels", "began", "by_session", "dirty", "isolation", "marked", "marked_at", "outcome_open",
        "over", "untold",
    )  # fmt: skip

    def __init__(self, began: float) -> None:
        self.began = began
        self.isolation = False  # was set in it, by a text
        self.dirty: Dirty | None = None
        self.outcome_open = False
        """It is prepared, or its connection was lost under COMMIT: what becomes of it is still to come."""
        self.over = False
        """Its COMMIT or ROLLBACK is about to be sent."""
        self.by_session = False
        """The session that has begun it hears of its end."""
        self.marked: dict[bytes, Set[str]] = {}
        """Tags that the cache was told of, by the writer in the mark."""
        self.marked_at: float | None = None
        """When the first of these was to be told (monotonic)."""
        self.untold: set[str] = set()
        """Tags that it could not be told of."""
        self._levels: dict[int, set[str]] = {}

    @property
    def tags(self) -> set[str]:
        """What it has changed and not taken back."""
        return set().union(*self._levels.values())

    def add(self, tags: Set[str], savepoint: str | None) -> None:
        """``tags`` are changed, inside ``savepoint`` if there is one."""
        self._levels.setdefault(_number(savepoint), set()).update(tags)

    def rolled_back_to(self, savepoint: str | None) -> None:
        """What was changed since ``savepoint`` is taken back."""
        number = _number(savepoint)
        if number:
            self._levels = {level: tags for level, tags in self._levels.items() if level < number}

    def ended(self) -> None:
        """It can change nothing more, and nobody sees what it has changed alone."""
        self._levels = {}
        self.over = True
        if self.dirty is not None:
            self.dirty.end()

    def take(self) -> tuple[dict[bytes, Set[str]], set[str]]:
        """What is to be bumped, and what is owed; each once."""
        marked, self.marked = self.marked, {}
        untold, self.untold = self.untold, set()
        return {} if self.outcome_open else marked, untold


def new_writer() -> bytes:
    """A name for one mark."""
    return secrets.token_bytes(WRITER_BYTES)


def savepoint_of(connection: Any) -> str | None:
    """The savepoint in which ``connection`` is."""
    nested = connection.get_nested_transaction()
    return nested._savepoint if nested is not None else None


def _number(savepoint: str | None) -> int:
    """0 of none, and of one that SQLAlchemy has not named: what it changed is not taken back then."""
    number = (savepoint or "").rpartition("_")[2]
    return int(number) if number.isascii() and number.isdigit() else 0
