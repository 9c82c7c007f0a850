"""Whether SQL that was written as text may change rows: its first word says that, mostly.

Nobody here understands SQL. What is not known to be harmless counts as a change, and a word that only looks
like one makes a transaction do without the cache, which is never wrong. Rules:

* Literals, quoted names and comments are cut first, in one pass, each where it begins: an apostrophe in a
  comment opens nothing. Databases do not agree on what these are, so a text is read as each of them would.
* ``WITH``, ``EXPLAIN`` and others may lead to a change: then one of its words stands somewhere behind them.
* Behind a semicolon another statement may follow, which counts as well.
* What MySQL and MariaDB run although it looks like a comment (``/*! ... */``) counts as a change.
* What may *end* the transaction, as ``COMMIT``, a procedure and MySQL's ``CREATE`` and ``BEGIN`` do, commits
  what was changed before. Statements that read, or change rows, do not.

Pure.
"""

import re
from collections.abc import Iterator
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
    lasting: bool = False
    """And how later ones on the same connection do."""


_RUN_ALL_THE_SAME = re.compile(r"/\*M?!")

_SINGLE, _DOUBLE, _BACKTICK = r"'[^']*'", r'"[^"]*"', r"`[^`]*`"
_SINGLE_ESCAPED, _DOUBLE_ESCAPED = r"'(?:[^'\\]|\\.)*'", r'"(?:[^"\\]|\\.)*"'
_DOLLAR = r"(?<![\w$])\$(?P<tag>[^\W\d]\w*)?\$.*?\$(?(tag)(?P=tag))\$"
_COMMENT, _LINE = r"/\*.*?\*/", r"--[^\n]*"
# One level inside another is what people write; of more, the rest is text that is looked at.
_NESTED = r"/\*(?:(?!/\*|\*/).|/\*.*?\*/)*\*/"


def _quotes(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(parts), re.DOTALL)


# What nobody looks into, as it is in PostgreSQL, SQLite, and MySQL with and without NO_BACKSLASH_ESCAPES.
_QUOTES = (
    _quotes(rf"(?<!\w)[eE]{_SINGLE_ESCAPED}", _SINGLE, _DOUBLE, _DOLLAR, _NESTED, _LINE),
    _quotes(_SINGLE, _DOUBLE, _BACKTICK, r"\[[^\]]*\]", _COMMENT, _LINE),
    _quotes(_SINGLE_ESCAPED, _DOUBLE_ESCAPED, _BACKTICK, _COMMENT, r"--(?!\S)[^\n]*", r"#[^\n]*"),
    _quotes(_SINGLE, _DOUBLE, _BACKTICK, _COMMENT, r"--(?!\S)[^\n]*", r"#[^\n]*"),
)
# Without any of these, all of them read the same.
_DISPUTED = re.compile(r"[\\#$\[`]|/\*|--\S")

# Between the beginning and the first word.
_HEAD = re.compile(r"[\s(]*")
_WORD = re.compile(r"[a-z]+", re.IGNORECASE)

_READS = frozenset({"select", "values", "table", "show", "pragma", "fetch"})
_LEADS = frozenset({"with", "explain", "describe", "desc", "analyze", "begin", "declare", "set"})
_HARMLESS = frozenset(
    {"use", "savepoint", "release", "rollback", "listen", "unlisten", "notify", "close", "reset", "discard",
     "deallocate", "start", "lock"}
)  # fmt: skip
_END_FIRST = frozenset({"begin", "start", "lock", "analyze"})  # MySQL
_CHANGES = re.compile(
    r"\b(?:insert|update|delete|merge|replace(?!\s*\()|into|execute|refresh|create)\b", re.IGNORECASE
)
_INTO = re.compile(r"\binto\b", re.IGNORECASE)
_LOCKS = re.compile(r"\bfor\s+(?:no\s+key\s+)?update\b", re.IGNORECASE)
_FOR = re.compile(r"set\s+statement\b", re.IGNORECASE)  # MariaDB: SET STATEMENT ... FOR, and then any other
_FOR_NOW = re.compile(r"set\s+(?:local|transaction)\b", re.IGNORECASE)
_STAY_INSIDE = frozenset(
    {"select", "insert", "update", "delete", "merge", "replace", "upsert", "copy", "load"}
)


@lru_cache(1024)
def judge(text: str) -> Judgement:
    """What ``text`` may do."""
    if _RUN_ALL_THE_SAME.search(text):
        return Judgement(changes=True, commits=True, isolation=False)
    each = [_statement(one) for read in _readings(text) for one in read.split(";")]
    return Judgement(*(any(answers) for answers in zip(*each, strict=True)))


@lru_cache(1024)
def may_lead_to_changes(text: str) -> bool:
    """Whether ``text``, which is a part of a statement, may change rows by itself."""
    return bool(_RUN_ALL_THE_SAME.search(text)) or any(
        ";" in read or _leads(read) for read in _readings(text)
    )


def _readings(text: str) -> Iterator[str]:
    """``text`` without what nobody looks into, as each database may read it."""
    yield from {quotes.sub(_cut, text) for quotes in (_QUOTES if _DISPUTED.search(text) else _QUOTES[:1])}


def _cut(found: re.Match[str]) -> str:
    return " " if found[0][0] in "-#/" else " '' "


def _leads(text: str) -> bool:
    # Of SELECT ... FOR UPDATE the words are those of a lock.
    return _CHANGES.search(_LOCKS.sub("", text)) is not None


def _statement(text: str) -> Judgement:
    """What one statement may do; its literals, quoted names and comments are cut."""
    rest = text[_HEAD.match(text).end() :]  # type: ignore[union-attr]  # matches nothing, too
    word = _WORD.match(rest)
    if word is None and not rest.replace("'", "").strip():
        return Judgement(changes=False, commits=False, isolation=False)
    first = word[0].lower() if word is not None else ""
    leads = first in _LEADS and (_leads(rest) or _FOR.match(rest) is not None)
    if first in _READS:
        harmless = _INTO.search(rest) is None
    else:
        harmless = first in _HARMLESS or (first in _LEADS and not leads)
    isolation = first in {"set", "begin", "start"} and "isolation" in rest.lower()
    return Judgement(
        changes=not harmless,
        commits=first in _END_FIRST or not (harmless or leads or first in _STAY_INSIDE),
        isolation=isolation,
        lasting=isolation and first == "set" and _FOR_NOW.match(rest) is None,
    )


def shown(text: str) -> str:
    """The beginning of a text for people, up to the first thing that may be a value."""
    return re.split(r"['\"$(=]", " ".join(text.split()), maxsplit=1)[0][:80].strip()
