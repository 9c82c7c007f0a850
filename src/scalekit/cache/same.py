"""Whether what was read back is what went in."""

import decimal
from collections.abc import Mapping
from typing import Any

from scalekit.cache.annotations import field_names, is_row
from scalekit.cache.immutability import SCALARS
from scalekit.cache.untyped import encode


def same(one: Any, other: Any) -> bool:
    """Whether ``other`` is ``one`` again, with the same types all the way down."""
    cls = type(one)
    if cls is not type(other):  # equality takes a StrEnum for its text, and 1 for 1.0 and True
        return False
    if cls is decimal.Decimal:  # 1.0 is no 1.00, and a signalling NaN cannot be compared
        return str(one) == str(other)
    if cls in SCALARS:
        return bool(one == other) or (one != one and other != other)  # NaN
    if isinstance(one, Mapping):  # the order is kept
        return (
            len(one) == len(other)
            and all(map(same, one, other))
            and all(map(same, one.values(), other.values()))
        )
    if isinstance(one, list | tuple) or is_row(cls):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset):
        counterparts = {item: item for item in other}
        return one == other and all(same(item, counterparts[item]) for item in one)
    names = field_names(cls)  # type: ignore[arg-type]  # classes are hashable
    if names:
        return all([same(getattr(one, name), getattr(other, name)) for name in names])
    return bool(one == other) and encode(one) == encode(other)
