"""One algorithm, two colours.

A sequence of I/O is written once, as a generator that yields whatever the client call returned: a
value from a synchronous client, an awaitable from an asynchronous one. The driver sends the result
back in, or throws the error at the same ``yield``, so ``try``/``except``/``finally`` in the generator
behave alike in both colours, cancellation included.

>>> def double(client):
...     value = yield client()
...     return value * 2
>>> run(double(lambda: 21))
42
"""

import inspect
from collections.abc import Generator
from typing import Any, TypeAlias, TypeVar

from scalekit.errors import WrongColour

T = TypeVar("T")

Steps: TypeAlias = Generator[Any, Any, T]
"""What a two-coloured function returns: yields client results, receives their values, returns ``T``."""


def run(steps: Steps[T]) -> T:
    """Drive ``steps`` whose client answers with values.

    Raises:
        WrongColour: a step yielded an awaitable, so an asynchronous client was handed to synchronous code.
    """
    try:
        step = next(steps)
        while True:
            if hasattr(type(step), "__await__"):  # a value may have any attribute
                if inspect.iscoroutine(step):
                    step.close()
                steps.close()
                raise WrongColour(found="async", wanted="sync", what="a synchronous call")
            step = steps.send(step)
    except StopIteration as done:
        result: T = done.value
        return result


async def run_async(steps: Steps[T]) -> T:
    """Drive ``steps`` whose client answers with awaitables; a plain value is taken as it is.

    Stores that live in process memory answer at once in both colours, hence the second half.
    """
    try:
        step = next(steps)
        while True:
            if hasattr(step, "__await__"):
                try:
                    step = await step
                # Whatever the await raised, cancellation too, belongs to the step that asked for it.
                except BaseException as error:  # noqa: BLE001
                    step = steps.throw(error)
                    continue
            step = steps.send(step)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        steps.close()
