"""What a piece of SQL text may do, judged without a parser and therefore pessimistically.

Rules:

* A statement is a read only if it is one statement, begins with ``SELECT``, ``WITH``, ``VALUES`` or
  ``TABLE``, and contains no word and no function that could write, lock, or mean something else on a
  replica.
* Text that is not understood (an open quote, an escape whose meaning depends on a server setting) is
  not a read.
* Being wrong in one direction costs a little load on the primary; in the other it would cost
  correctness. So ``SELECT update FROM t`` goes to the primary, ``SELECT t.update`` need not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

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
        relations: names of views that do so when they are read from. In lower case.
        pairs: words that lock or write when the one follows the other, besides ``FOR UPDATE`` and its like.
    """

    words: Callable[[str], list[str] | None]
    functions: frozenset[str]
    prefixes: tuple[str, ...]
    pairs: frozenset[tuple[str, str]] = frozenset()
    relations: frozenset[str] = frozenset()

    def with_names(self, *, functions: frozenset[str], relations: frozenset[str]) -> "TextRules":
        """The same, and these of the application's own, which no server can tell us about."""
        return replace(self, functions=self.functions | functions, relations=self.relations | relations)

    def is_read(self, sql: str) -> bool:
        """Whether ``sql`` is a statement that any replica may answer.

        A function that is not on the list counts as harmless: if it writes after all, the replica refuses,
        and the session asks the primary instead and remembers.
        """
        found = self.words(sql)
        if found is None:
            return False
        while found and found[-1] == ";":
            found.pop()
        if ";" in found:
            return False
        first = next((word for word in found if word != "("), "")
        return first in _READS and all(self._harmless(*pair) for pair in pairwise(["", *found, ""]))

    def _harmless(self, word: str, following: str) -> bool:
        if following in _WRITING_WORDS and word not in (".", "as"):
            return False
        if (word == "for" and following in _LOCKS) or (word, following) in self.pairs:
            return False
        if self.relations and word.removeprefix('"') in self.relations:
            return False
        if following == "(":
            name = word.removeprefix('"')
            return name not in self.functions and not name.startswith(self.prefixes)
        return True
