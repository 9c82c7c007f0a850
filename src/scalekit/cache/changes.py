"""Which tables a statement changes, as tags.

Rules:

* INSERT, UPDATE and DELETE that SQLAlchemy builds are seen wherever they are: alone, in a CTE of another
  statement, a SELECT too, and the UPDATE of several tables that MySQL and MariaDB know.
* What the database does itself by ``ON DELETE CASCADE``, ``SET NULL``, ``SET DEFAULT`` and ``ON UPDATE`` is
  told by the foreign keys in the table's ``MetaData``, through as many tables as it takes.
* ``execution_options(changes=[Product])`` names what nobody sees: of a ``text()``, a function, a trigger.
* A statement of a class that SQLAlchemy does not have is judged by what it was compiled to, as a text is.
* A text without that, unless it only reads, changes nobody knows what (see :mod:`scalekit.cache.texts`); also
  one that is a part of a statement, as in ``from_statement(text(...))``.

What is known of a statement is kept with what SQLAlchemy has compiled it to, which it keeps itself.
"""

import weakref
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from scalekit.cache.tags import table_tag, tags_of
from scalekit.cache.texts import judge, may_lead_to_changes
from scalekit.errors import MissingExtra

try:
    from sqlalchemy import ColumnClause, ForeignKey, Table, TableClause, TextClause, exc
    from sqlalchemy.schema import CreateTable, DropTable, ExecutableDDLElement
    from sqlalchemy.sql import visitors
except ImportError:
    raise MissingExtra("sqlalchemy", needed_by="scalekit.cache with SQLAlchemy") from None

OPTION = "changes"
"""The execution option that names what a statement changes."""

_NOTHING: frozenset[str] = frozenset()


class Changes(NamedTuple):
    """What a statement changes."""

    tags: frozenset[str]
    unseen: bool = False
    """And perhaps other tables, nobody knows which."""
    commits: bool = False
    """It may commit what its transaction has changed before."""
    isolation: bool = False
    """It may set how its transaction sees what others commit."""
    lasting: bool = False
    """And how later ones on the same connection do."""

    def __bool__(self) -> bool:
        return bool(self.tags) or self.unseen


NONE = Changes(_NOTHING)

_known: weakref.WeakKeyDictionary[Any, Changes | None] = weakref.WeakKeyDictionary()


def changes_of(context: Any, text: str) -> Changes:
    """What is about to change.

    Args:
        context: SQLAlchemy's, of the execution; ``None``: there is none.
        text: what is sent.

    Raises:
        ConfigurationError: the option ``changes`` names something that is no table.
    """
    options = context.execution_options if context is not None else {}
    declared = options.get(OPTION)
    named = _NOTHING if declared is None else frozenset(tags_of(*_items(declared), where=f"{OPTION}="))
    compiled = context.compiled if context is not None else None
    if compiled is not None:
        try:
            known = _known[compiled]
        except KeyError:
            known = _known[compiled] = _changes(compiled)
        if known is not None:
            return known if declared is None else known._replace(tags=known.tags | named, unseen=False)
    judged = judge(text)
    if declared is not None:
        return Changes(named, False, *judged[1:])
    return Changes(_NOTHING, *judged) if any(judged) else NONE


def _items(declared: Any) -> Iterable[object]:
    """``changes=[Product]``, and a lone one, whose class or table may be iterated as something else."""
    alone = isinstance(declared, str) or hasattr(declared, "__mapper__") or hasattr(declared, "fullname")
    return (declared,) if alone else declared


def _changes(compiled: Any) -> Changes | None:
    """What a compiled statement changes; ``None``: it is a text."""
    statement = compiled.statement
    if getattr(compiled, "isplaintext", False):
        return None
    if isinstance(statement, ExecutableDDLElement):
        if getattr(statement, "statement", None) is not None or _is_foreign(statement):
            return None  # a DDL() is a text, and so is what others have written
        table = statement.element if isinstance(statement, CreateTable | DropTable) else None
        # MySQL and MariaDB commit before it.
        return Changes(frozenset({table_tag(table)}) if table is not None else _NOTHING, commits=True)
    if statement is None:
        return NONE
    tags = frozenset(changed_tables(statement, compiled.column_keys or ()))
    parts = list(visitors.iterate(statement))
    # Nothing that SQLAlchemy builds has a semicolon: prefixes and hints are texts, and no parts of it.
    texts, rest = list(_texts(parts)), compiled.string.split(";", 1)[1:]
    if tags:  # known by what SQLAlchemy has built: the texts in it are judged alone
        return Changes(tags, unseen=any(map(may_lead_to_changes, [*texts, *rest])))
    if any(getattr(part, "is_dml", False) for part in parts):  # of no table that has a name
        return Changes(_NOTHING, unseen=True)
    judged = judge(compiled.string) if texts or rest or any(map(_is_foreign, parts)) else ()
    return Changes(_NOTHING, *judged) if any(judged) else NONE


def _is_foreign(part: Any) -> bool:
    """Whether it is of a class that SQLAlchemy does not have: what it becomes only its text says."""
    return not type(part).__module__.startswith("sqlalchemy.")


def _texts(parts: Iterable[Any]) -> Iterator[str]:
    """What of a statement was written as text."""
    for part in parts:
        if isinstance(part, TextClause):
            yield part.text
        elif isinstance(part, ColumnClause) and part.is_literal:
            yield part.name


def changed_tables(statement: Any, columns: Iterable[str] = ()) -> set[str]:
    """The tags of all tables that a statement changes.

    Args:
        statement: any that SQLAlchemy has built.
        columns: names of those that it sets, besides what it says itself.
    """
    tables: set[TableClause] = set()
    parts: list[Any] = list(visitors.iterate(statement))
    for part in parts:  # its CTEs may change tables, too
        # A from_statement(insert(...)) says that it is DML, too, and has that as a part.
        if not getattr(part, "is_dml", False) or not hasattr(part, "table"):
            continue
        values = _values(part)
        parts_of_it = visitors.iterate(part.table)
        changed: set[TableClause] = {one for one in parts_of_it if isinstance(one, TableClause)}
        # MySQL and MariaDB can update several tables at once: the columns say which.
        targets = (getattr(column, "table", None) for column in values)
        changed |= {table for table in targets if isinstance(table, TableClause)}
        tables |= changed
        names = {str(getattr(column, "name", column)) for column in (*values, *columns)}
        for table in changed:
            if not isinstance(table, Table):  # a table() has no foreign keys
                continue
            if part.is_delete:
                tables |= _cascades(table, None)
            elif part.is_update:
                tables |= _cascades(table, names)
    return {table_tag(table) for table in tables}


def _values(part: Any) -> list[Any]:
    """What an INSERT or UPDATE sets: columns, or their names."""
    found: list[Any] = []
    for values in (getattr(part, "_values", None), getattr(part, "_ordered_values", None)):
        found.extend(dict(values or ()))
    return found


def _cascades(table: Table, updated: set[str] | None) -> set[Table]:
    """The tables whose rows the database changes because rows of ``table`` are.

    Args:
        table: where rows are deleted, or updated.
        updated: the names of the columns that are; ``None``: the rows are deleted.
    """
    found: set[Table] = set()
    seen: set[tuple[str, str | None]] = set()
    left = [(table, updated)]
    while left:
        parent, names = left.pop()
        for key in _referring(parent):
            does = ((key.ondelete if names is None else key.onupdate) or "").upper()
            if does not in ("CASCADE", "SET NULL", "SET DEFAULT"):
                continue
            if names is not None and names.isdisjoint({key.column.name, key.column.key}):
                continue
            child, column = key.parent.table, key.parent.name
            found.add(child)
            deleted = names is None and does == "CASCADE"
            step = child.key, None if deleted else column
            if step not in seen:
                seen.add(step)
                left.append((child, None if deleted else {column}))
    return found


def _referring(parent: Table) -> Iterator[ForeignKey]:
    """The foreign keys to ``parent``."""
    for child in parent.metadata.tables.values():
        for key in child.foreign_keys:
            try:
                target = key.column.table
            except exc.NoReferenceError:  # to a table that is not described: the database has it, or has not
                continue
            # By name: the tables in an ORM's statements are annotated copies.
            if isinstance(target, Table) and target.key == parent.key:
                yield key
