"""What a piece of SQL text may do, judged without a parser and therefore pessimistically.

Rules:

* A statement is a read only if it is one statement, begins with ``SELECT``, ``WITH``, ``VALUES`` or
  ``TABLE``, and contains no word, no function and no view that could write, lock, or mean something else
  on a replica.
* What the database holds is the same on every server, and is read anywhere. What one server is doing is
  not (its sessions, locks, statistics, memory, settings, log, files): who asks means the primary. Only what
  says where one is (``pg_is_in_recovery()``, ``@@server_id``, the connection's own number) is answered by
  wherever that is.
* Text that is not understood (an open quote, an escape whose meaning depends on a server setting) is
  not a read.
* Being wrong in one direction costs a little load on the primary; in the other it would cost
  correctness. So ``SELECT update FROM t`` goes to the primary, ``SELECT t.update`` need not.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

_FIRST = re.compile(r"[\s(]*([\w$]+)")
_CHANGES = frozenset({"delete", "insert", "update"})
_READS = frozenset({"select", "with", "values", "table"})

# Verbs of data-modifying CTEs, and SELECT INTO. As a name they follow a dot or AS, or are quoted.
_WRITING_WORDS = frozenset({"insert", "update", "delete", "merge", "into"})
_LOCKS = frozenset({"update", "share", "no", "key"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRules:
    """What is to be known about a dialect.

    Args:
        words: cuts a text into its words and single symbols, in order and in lower case; literals are left
            out, and a quoted name keeps its first quote, ``"name``, so that it cannot be taken for a
            keyword. ``None`` when the text cannot be cut with certainty.
        functions: names of functions that a replica runs without an error although their effect belongs
            on the primary, or that only mean something there. In lower case.
        prefixes: beginnings of such names.
        relations: names of views and variables that do so when they are read from. In lower case.
        relation_prefixes: beginnings of such names.
        columns: names that do so where they stand alone. After the name of a table they are the
            application's, whose tables may well have such columns: SQLAlchemy's statements name the table.
        pairs: words that lock or write when the one follows the other, besides ``FOR UPDATE`` and its like.
    """

    words: Callable[[str], list[str] | None]
    functions: frozenset[str]
    prefixes: tuple[str, ...]
    relations: frozenset[str]
    relation_prefixes: tuple[str, ...] = ()
    columns: frozenset[str] = frozenset()
    pairs: frozenset[tuple[str, str]] = frozenset()

    def with_names(self, *, functions: frozenset[str], relations: frozenset[str]) -> "TextRules":
        """The same, and these of the application's own, which no server can tell us about."""
        return replace(self, functions=self.functions | functions, relations=self.relations | relations)

    def is_read(self, sql: str) -> bool:
        """Whether ``sql`` is a statement that any replica may answer.

        A function that is not on the list counts as harmless: if it writes after all, the replica refuses,
        and the session asks the primary instead and remembers.
        """
        return self.words_of_read(sql) is not None

    def words_of_read(self, sql: str) -> list[str] | None:
        """The words of ``sql``, if it :meth:`is_read`; ``None`` otherwise."""
        word = first_word(sql)
        found = self.words(sql) if word is None or word in _READS else None
        if found is None:
            return None
        while found and found[-1] == ";":
            found.pop()
        if ";" in found:
            return None
        first = next((word for word in found if word != "("), "")
        around = zip(["", *found], found, [*found[1:], ""], strict=False)
        return found if first in _READS and all(self._harmless(*words) for words in around) else None

    def _harmless(self, before: str, word: str, after: str) -> bool:
        if word in _WRITING_WORDS and before not in (".", "as"):
            return False
        if (before == "for" and word in _LOCKS) or (before, word) in self.pairs:
            return False
        name = word.removeprefix('"')
        if after == "(":
            return name not in self.functions and not name.startswith(self.prefixes)
        if before == "as":
            return True  # a new name for something else
        if before != "." and name in self.columns:
            return False
        return name not in self.relations and not name.startswith(self.relation_prefixes)


def only_changes_rows(sql: str) -> bool:
    """Whether ``sql`` is one statement, and one that changes rows, however its literals are to be read.

    It is not cut into words for that: with many rows it is long, and many an event loop waits.
    """
    return first_word(sql) in _CHANGES and ";" not in sql


def first_word(sql: str) -> str | None:
    """The first word of ``sql`` in lower case, where nothing but spaces and parentheses is before it.

    Known in no time, which cutting a text of many rows into its words is not. ``None`` where a comment or
    anything else is before it.
    """
    found = _FIRST.match(sql)
    return None if found is None else found[1].lower()
