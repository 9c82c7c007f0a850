"""Blocks: a piece of code whose transactions begin on the primary, or on the replicas.

Rules:

* The innermost block that is still open counts. A block that has ended counts for nobody, also not for the
  tasks that were started inside it and outlive it.
* A block that a thread enters counts for its whole request while it is open: frameworks run a synchronous
  dependency and the endpoint behind it in two threads that share nothing else. Where several are open in
  that way, the primary wins.
"""

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from scalekit.database.levels import STRONG, Consistency
from scalekit.errors import ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")


class _Holder(Protocol):
    def open(self, block: "Block") -> None: ...

    def close(self, block: "Block") -> None: ...


class Block:
    """A ``with`` block, or a decorator; made by ``Cluster.primary()`` and ``Cluster.replicas()``.

    Each ``with`` takes a new one. As a decorator it may stand above any function, ``async`` or not, but not
    above a generator, whose body runs in pieces.
    """

    __slots__ = ("_entered", "_stack", "holder", "is_open", "level", "name", "outer")

    def __init__(self, stack: _Holder, level: Consistency, *, name: str) -> None:
        self._stack, self.level, self.name = stack, level, name
        self.is_open = self._entered = False
        self.outer: Block | None = None
        self.holder: _Holder | None = None  # the request that counts as inside it

    def __enter__(self) -> None:
        if self._entered:
            # Two tasks may share the object, and the first one to leave would end it for both.
            raise RuntimeError(f"a {self.name} block can be entered once; write `with cluster.{self.name}:`")
        self._entered = self.is_open = True
        self._stack.open(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_open = False
        self._stack.close(self)

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """``function`` with its body inside such a block.

        Raises:
            ConfigurationError: it is a generator function.
        """
        stack, level, name = self._stack, self.level, self.name
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"@cluster.{name} cannot decorate the generator {function.__qualname__}; write "
                f"`with cluster.{name}:` inside it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def inside_async(*args: P.args, **keywords: P.kwargs) -> Any:
                with Block(stack, level, name=name):
                    return await function(*args, **keywords)

            return cast(Callable[P, T], inside_async)

        @functools.wraps(function)
        def inside(*args: P.args, **keywords: P.kwargs) -> T:
            with Block(stack, level, name=name):
                return function(*args, **keywords)

        return inside


def innermost(block: Block | None) -> Block | None:
    """The innermost block that is open, of ``block`` and those around it."""
    while block is not None and not block.is_open:
        block = block.outer
    return block


def strictest(blocks: tuple[Block, ...]) -> Consistency | None:
    """The level where several blocks are open and none is inside another, the last one entered last."""
    for block in blocks:
        if block.level is STRONG:
            return STRONG
    return blocks[-1].level if blocks else None
