"""What a query reads, as tags: dropping a tag drops every result that carries it.

A tag is a string. A table's tag is its name, with the schema if it has one (``"shop.products"``); a mapped
class stands for all the tables that its rows come from. SQLAlchemy is recognised by what its objects
have, not imported.

A tag travels as UTF-8, and half of a surrogate pair, as JSON of a stranger may hold one, has none: it is
spelled out (:func:`sendable`). An invalidation that cannot be sent would be owed for ever.
"""

from collections.abc import Iterable

from scalekit.errors import ConfigurationError


def tags_of(*things: object, where: str) -> tuple[str, ...]:
    """The tags of mapped classes, tables and names; sorted, each once. Errors say ``where`` they were given.

    Raises:
        ConfigurationError: something is none of these.
    """
    found: set[str] = set()
    for thing in things:
        found.update(_tags(thing, where))
    return tuple(sorted(found))


def _tags(thing: object, where: str) -> Iterable[str]:
    if isinstance(thing, str):
        if not thing:
            raise ConfigurationError(f"{where} has an empty name in it; a tag is not empty")
        return (sendable(thing),)
    mapper = getattr(thing, "__mapper__", None)
    if mapper is not None:
        # A joined subclass has its rows in several tables.
        return [table_tag(table) for table in mapper.tables]
    if isinstance(getattr(thing, "fullname", None), str):
        return (table_tag(thing),)
    several = "; give what is in it one by one" if isinstance(thing, list | tuple | set | frozenset) else ""
    raise ConfigurationError(
        f"{where} takes mapped classes, Tables and the names of tables and tags, not {thing!r:.120}{several}"
    )


def sendable(tag: str) -> str:
    """``tag``, with what UTF-8 has no bytes for spelled out."""
    return tag if tag.isascii() else tag.encode("utf-8", "backslashreplace").decode()


def table_tag(table: object) -> str:
    """The tag of a SQLAlchemy ``Table``."""
    name: str = table.fullname  # type: ignore[attr-defined]
    return name


def tag_of_keys(key: str) -> str:
    """The tag that is dropped with each key of this one's function: no result carries it."""
    return f"{key.rpartition(':')[0]}:by-key"
