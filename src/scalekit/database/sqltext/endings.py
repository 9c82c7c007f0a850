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
from itertools import pairwise

from scalekit.database.sqltext.rules import TextRules


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
_FIRST = re.compile(r"[\s(]*(\w+)")

# Words of SQL and types, which are no functions before a parenthesis, and functions that only answer.
_ANSWERS = """
all and any array as between by case char decimal distinct else except exists filter from group having in
interval intersect is join lateral like limit not numeric offset on or order over partition row select some
table then union using values varchar when where with within
array_agg avg bool_and bool_or count dense_rank first_value group_concat json_agg json_object_agg jsonb_agg
jsonb_object_agg lag last_value lead max min rank row_number string_agg sum
abs cast ceil ceiling coalesce concat concat_ws convert date date_format date_part date_trunc extract floor
generate_series greatest if ifnull json_build_object json_extract jsonb_build_object least left length lower
ltrim mod now nullif position replace right round rtrim substr substring to_char to_tsquery to_tsvector trim
unnest upper version
"""
_ORDINARY = frozenset(_ANSWERS.split())

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
        words = rules.words(sql)
        if words is None:
            # An open literal, or what only some versions execute.
            first = _FIRST.match(sql)
            stays = first is not None and first[1].lower() in _STAYS - {"set"} and ";" not in sql
        else:
            stays = all(
                one[0] in _STAYS and not (one[0] == "set" and _SETS_COMMITS.intersection(one))
                for one in _statements(words)
            )
        return _alone(rules, sql) if stays else Ending.CHAIN

    return judge


def _alone(rules: TextRules, sql: str) -> Ending:
    if not rules.is_read(sql):
        return Ending.ITSELF
    words = rules.words(sql) or []
    called = (word for word, after in pairwise(words) if after == "(" and word[0].isalpha())
    return (
        Ending.NONE if all(word in _ORDINARY or word.startswith("pg_") for word in called) else Ending.ITSELF
    )


def _statements(words: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for word in words:
        if word == ";":
            found.append([])
        elif word != "(" or found[-1]:
            found[-1].append(word)
    return [one for one in found if one]
