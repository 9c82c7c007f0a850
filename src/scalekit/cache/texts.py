"""Whether SQL that was written as text may change rows: its first word says that, mostly.

Nobody here understands SQL. What is not known to be harmless counts as a change, and a word that only looks
like one, inside a literal for example, makes a transaction do without the cache, which is never wrong. Rules:

* ``WITH`` and ``EXPLAIN`` may lead to a change: then one of its words stands somewhere behind them.
* Behind a semicolon another statement may follow, which counts as well.
* What MySQL and MariaDB run although it looks like a comment (``/*! ... */``) counts as a change.
* What may *end* the transaction, as ``COMMIT``, a procedure and MySQL's ``CREATE`` and ``BEGIN`` do, commits
  what was changed before. Statements that read, or change rows, do not.

Pure.
"""

import re
from functools import lru_cache
from typing import NamedTuple


class Judgement(NamedTuple):
    """Of a text."""

    changes: bool
    """It may change rows of nobody knows which tables."""
    commits: bool
    """It may commit what its transaction has changed before."""
    isolation: bool
    """It may set how its transaction sees what others commit."""


# Between the beginning and the first word.
_HEAD = re.compile(r"(?:\s|\(|;|--[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|/\*(?!!).*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[a-z]+", re.IGNORECASE)
_LITERAL = re.compile(r"'[^'\\]*'")

_READS = frozenset({"select", "values", "table", "show", "describe", "desc", "pragma", "fetch"})
_LEADS = frozenset({"with", "explain"})
_HARMLESS = frozenset(
    {"set", "use", "savepoint", "release", "rollback", "listen", "unlisten", "notify", "declare", "close",
     "reset", "discard", "deallocate", "begin", "start", "lock", "analyze"}
)  # fmt: skip
_END_FIRST = frozenset({"begin", "start", "lock", "analyze"})  # MySQL
_CHANGES = re.compile(r"\b(?:insert|update|delete|merge|replace\s+into)\b", re.IGNORECASE)
_LOCKS = re.compile(r"\bfor\s+(?:no\s+key\s+)?update\b", re.IGNORECASE)
_STAY_INSIDE = frozenset({"insert", "update", "delete", "merge", "replace", "upsert", "copy", "load"})


@lru_cache(1024)
def judge(text: str) -> Judgement:
    """What ``text`` may do."""
    found = Judgement(changes=False, commits=False, isolation=False)
    if "/*!" in text:
        return Judgement(changes=True, commits=True, isolation=False)
    for statement in _LITERAL.sub("''", text).split(";"):
        rest = statement[_HEAD.match(statement).end() :]  # type: ignore[union-attr]  # matches nothing, too
        word = _WORD.match(rest)
        if word is None and not rest.strip():
            continue
        first = word[0].lower() if word is not None else ""
        # Of SELECT ... FOR UPDATE the words are those of a lock.
        leads = first in _LEADS and _CHANGES.search(_LOCKS.sub("", rest)) is not None
        harmless = first in _READS or first in _HARMLESS or (first in _LEADS and not leads)
        found = Judgement(
            changes=found.changes or not harmless,
            commits=found.commits or first in _END_FIRST or not (harmless or leads or first in _STAY_INSIDE),
            isolation=found.isolation or (first in {"set", "begin", "start"} and "isolation" in rest.lower()),
        )
    return found


def shown(text: str) -> str:
    """The beginning of a text for people, up to the first thing that may be a value."""
    return re.split(r"['\"$(=]", " ".join(text.split()), maxsplit=1)[0][:80].strip()
