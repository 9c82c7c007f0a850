"""What was found out about SQL, so that it is judged once; of a bounded size.

Rules:

* Where SQLAlchemy fills lists in (``IN``), the text before that is judged: what is filled in are parameters,
  and there is a text for each length of list.
* Of a long text only the digest is kept.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")

Key: TypeAlias = str | bytes

_MOST = 2_000
_LONG = 4_096  # characters
_MOST_CHARACTERS = 4 * 2**20


class Memory(Generic[T]):
    """What is known by now. When full, all is forgotten: to drop the oldest costs more than to judge."""

    def __init__(self) -> None:
        self.known: dict[Any, T] = {}
        self._characters = 0

    def keep(self, key: Any, found: T, *, characters: int) -> None:
        """Remember ``found``.

        Args:
            key: a :func:`key_of` some text, or whatever else stands for it.
            found: what to remember.
            characters: how many ``key`` holds on to, about.
        """
        if len(self.known) >= _MOST or self._characters > _MOST_CHARACTERS:
            self.known.clear()
            self._characters = 0
        self.known[key] = found
        self._characters += characters


class Judgements(Memory[T]):
    """What ``judge`` says of texts.

    Args:
        judge: judges one.
    """

    def __init__(self, judge: Callable[[str], T]) -> None:
        super().__init__()
        self._judge = judge

    def of(self, sql: str, context: Any) -> T:
        """Of ``sql``, which a driver is to send for ``context``."""
        found = self.known.get(sql)
        if found is None:
            # A listener's text is another one, and so is that of many rows in one INSERT.
            if context is not None and context.compiled is not None and sql is context.statement:
                sql = context.compiled.string
            key = key_of(sql)
            found = self.known.get(key)
            if found is None:
                found = self._judge(sql)
                self.keep(key, found, characters=len(key))
        return found


def key_of(sql: str) -> Key:
    """``sql``, or what stands for it where that is long."""
    if len(sql) <= _LONG:
        return sql
    return blake2b(sql.encode("utf-8", "surrogatepass"), digest_size=16).digest()
