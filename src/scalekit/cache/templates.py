"""Tags that depend on the arguments: ``tags=["product:{id}"]``.

A name in braces is a parameter that enters the key; ``{{`` and ``}}`` are braces. Who drops the tag writes it
as Python's ``format`` would: ``invalidate_tags(f"product:{id}")``.
"""

import enum
import string
from collections.abc import Mapping
from typing import Any

from scalekit.cache.keys import Keys
from scalekit.cache.spelling import SCALARS
from scalekit.cache.tags import sendable
from scalekit.errors import ConfigurationError, UncacheableArgument


class Templates:
    """The tags of one function's calls.

    Args:
        tags: as they were given.
        keys: the function's.
        hint: what a message says besides of a name that cannot be used.

    Raises:
        ConfigurationError: a tag cannot be read, or names what does not enter the key.
    """

    def __init__(self, tags: tuple[str, ...], *, keys: Keys, hint: str = "") -> None:
        self._name = name = keys.name
        known = {parameter.name for parameter in keys.parameters if keys.asks(parameter)}
        self._tags = [_pieces(tag, known, name, hint) for tag in tags]
        self.fixed: tuple[str, ...] | None = None
        """The tags of every call, if they depend on no argument."""
        if not any(field for pieces in self._tags for _, field in pieces):
            self.fixed = self.of({})

    def of(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """The tags of a call whose key is made of ``arguments``.

        Raises:
            UncacheableArgument: a value is no scalar, and so has no text of its own.
        """
        if self.fixed is not None:
            return self.fixed
        return tuple(
            sendable(
                "".join(
                    [text + self._text(field, arguments[field]) if field else text for text, field in pieces]
                )
            )
            for pieces in self._tags
        )

    def _text(self, field: str, value: Any) -> str:
        cls = type(value)
        if cls not in SCALARS and not isinstance(value, enum.Enum):
            raise UncacheableArgument(
                function=self._name, parameter=field, type_name=f"{cls.__qualname__}, in a tag,"
            )
        return format(value)


def _pieces(tag: str, known: set[str], name: str, hint: str) -> list[tuple[str, str | None]]:
    """Text, and the parameter whose value follows it."""
    pieces: list[tuple[str, str | None]] = []
    try:
        for text, field, form, conversion in string.Formatter().parse(tag):
            if field is not None and (field not in known or form or conversion):
                raise ValueError(f"{{{field}}} is no parameter that enters the key{hint}")
            pieces.append((text, field))
    except ValueError as error:
        raise ConfigurationError(
            f"tags= of {name}: {tag!r}: {error}; write a parameter's name in braces, and {{{{ for a brace"
        ) from None
    return pieces
