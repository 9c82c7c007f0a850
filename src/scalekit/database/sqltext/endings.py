"""What a piece of SQL text may commit by itself, without a COMMIT that anybody was told of.

Rules:

* Where each statement is a transaction of its own, all but plain reads may: those that call nothing but
  functions which are known to write nothing.
* In a transaction those that end it do: ``COMMIT`` and its like, and in MariaDB and MySQL all that is not
  known to stay within it, such as DDL, or a procedure, which may do anything.
* To take one too many for a commit costs its visitor a moment on the primary; to miss one would show them
  less than they wrote.
"""

import re
from collections.abc import Callable
from enum import Enum, auto

from scalekit.database.sqltext.plain import leaves_nothing
from scalekit.database.sqltext.rules import TextRules, first_word, only_changes_rows


class Ending(Enum):
    """What may be committed when a statement has run."""

    NONE = auto()
    """Nothing: it is a plain read."""

    ITSELF = auto()
    """Itself, if it is a transaction of its own."""

    COMMIT = auto()
    """Its transaction, if the server says that none is in progress any more."""

    CHAIN = auto()
    """Its transaction, and the server may be in another one already."""


Judge = Callable[[str], Ending]

_COMMITS = re.compile(r"\b(commit|end|prepare)\b", re.IGNORECASE)
_GOES_ON = re.compile(r"\b(chain|begin|start)\b", re.IGNORECASE)

# Of MariaDB and MySQL: first words of what neither commits nor ends a transaction.
_WITHIN = """
delete desc describe do explain handler insert kill release replace rollback savepoint select set show signal
table update use values with
"""
_STAYS = frozenset(_WITHIN.split())
_SETS_COMMITS = frozenset({"autocommit", "password", "statement", "role"})


def postgresql(rules: TextRules) -> Judge:
    """Judges for PostgreSQL, where whatever ends a transaction says so."""

    def judge(sql: str) -> Ending:
        if only_changes_rows(sql):
            return Ending.ITSELF
        if _COMMITS.search(sql) is None:
            return _alone(rules, sql)
        words = rules.words(sql)
        if words is None:
            return Ending.CHAIN if _GOES_ON.search(sql) else Ending.COMMIT
        statements = _statements(words)
        for number, one in enumerate(statements, 1):
            if one[0] in ("commit", "end") or one[:2] == ["prepare", "transaction"]:
                chained = "chain" in one and "no" not in one
                return Ending.CHAIN if chained or number < len(statements) else Ending.COMMIT
        return _alone(rules, sql)

    return judge


def mysql(rules: TextRules) -> Judge:
    """Judges for MariaDB and MySQL, where much ends a transaction without a word."""

    def judge(sql: str) -> Ending:
        if only_changes_rows(sql):
            return Ending.ITSELF
        words = rules.words(sql)
        if words is None:
            # An open literal, or what only some versions execute.
            stays = first_word(sql) in _STAYS - {"set"} and ";" not in sql
        else:
            stays = all(
                one[0] in _STAYS and not (one[0] == "set" and _SETS_COMMITS.intersection(one))
                for one in _statements(words)
            )
        return _alone(rules, sql) if stays else Ending.CHAIN

    return judge


def _alone(rules: TextRules, sql: str) -> Ending:
    return Ending.NONE if leaves_nothing(rules, sql) else Ending.ITSELF


def _statements(words: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for word in words:
        if word == ";":
            found.append([])
        elif word != "(" or found[-1]:
            found[-1].append(word)
    return [one for one in found if one]
