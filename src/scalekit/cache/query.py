"""What the core is asked: a cached function, a call of it, and what the back end had for that call."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from scalekit._steps import Steps
from scalekit.cache.afresh import Afresh
from scalekit.cache.backend import Entries, Lookup
from scalekit.cache.codecs import Codec
from scalekit.cache.entry import Found
from scalekit.cache.local import Mark
from scalekit.cache.options import Life, Patience
from scalekit.cache.runtime import Runtime, look_alone


class Via(NamedTuple):
    """The way to the back end in one colour, and what that colour can do."""

    entries: Entries
    runtime: Runtime
    distant: bool = True
    """Whether it is worth while to ask for several keys together."""

    def look(self, lookup: Lookup) -> Steps[Found]:
        """What the back end has for ``lookup``.

        Raises:
            BackendError: it could not be asked.
        """
        return self.runtime.look(self.entries, lookup) if self.distant else look_alone(self.entries, lookup)


@dataclass(frozen=True, kw_only=True)
class Query:
    """What does not change from call to call."""

    name: str
    via: Via
    codec: Codec
    life: Life
    patience: Patience = field(default_factory=Patience)
    cache_if: Callable[[Any], bool] | None = None
    """Which results are stored; ``None``: all."""
    refuses_again: bool = False
    """Whether what ``cache_if`` refuses it would refuse the next time: then nobody waits for it."""
    is_async: bool = True
    """Whether the function is an ``async def``."""
    afresh: Afresh | None = None
    """How to run it for nobody's call; ``None``: it never is."""

    @property
    def leaves_behind(self) -> bool:
        """Whether callers go after a time-out and leave the function running: threads cannot be stopped."""
        return (
            self.patience.hard_timeout is not None
            and self.afresh is not None
            and self.afresh.colour == "sync"
        )


# Not a dataclass: that would triple what it takes to make one.
class Call(msgspec.Struct, kw_only=True, eq=False):
    """One call.

    ``key`` is the back end's, ``local`` the first tier's; ``left_out`` are the arguments that belong to the
    caller, as sessions do; ``arguments`` are all, by name, for those who run the function :class:`Afresh`.
    """

    key: str
    local: Hashable
    tags: tuple[str, ...]
    run: Callable[[], Any]
    left_out: Sequence[object]
    arguments: Mapping[str, Any]


class Asked(NamedTuple):
    """What the back end had (``None``: it could not be asked or trusted), and the mark from before."""

    found: Found | None
    mark: Mark
