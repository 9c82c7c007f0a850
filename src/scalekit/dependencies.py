"""How a piece tells what it depends on: the one interface that all of them share.

A piece has a method ``dependencies()``, and :mod:`scalekit.ops` makes a health check of each when it is given
the piece. An application's own objects can do the same::

    class Search:
        def dependencies(self) -> Iterable[Dependency]:
            yield Dependency("search", lambda colour: self.breaker.closed)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from scalekit.types import Colour

Required: TypeAlias = bool | Literal["once"]
"""``"once"``: until it has passed once the server gets no traffic; from then on a failure is only told."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something that a piece needs to answer.

    Args:
        name: how reports call it.
        ask: takes the colour of whoever asks. It fails if it raises or returns ``False``, at once or, for
            ``"async"``, when what it returns is awaited. It must block no event loop.
        required: what a failure means to readiness. Nothing, by default: what all servers share is away for
            all of them, and none of them would be left to say so.
        ttl: seconds for which an answer is good; few where asking costs nothing.
    """

    name: str
    ask: Callable[[Colour], object]
    required: Required = False
    ttl: float = 5.0


@runtime_checkable
class Dependent(Protocol):
    """Anything that tells."""

    def dependencies(self) -> Iterable[Dependency]:
        """What it depends on. Quick, and without I/O."""
        ...
