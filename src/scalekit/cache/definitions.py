"""The names of a cache's functions: two at the same time would read each other's results.

Rules:

* The same code again is the same function: a module was reloaded. If it closes over something, it is not,
  even if the former is gone: its results are not.
* Other code of the same module and qualified name takes the place of the former if what it stands in was run
  anew: a module that was reloaded, a notebook's cell that was edited, a factory that was defined again. That
  is so if the code around it is another object: what is run once has one. Of two functions of one name in the
  same run of a module, both may be in use (as routes), so that is a clash.
* All else is a clash.
"""

import inspect
import logging
import os
import sys
import weakref
from types import CodeType, FrameType
from typing import Any, NamedTuple

from scalekit.errors import ConfigurationError

log = logging.getLogger("scalekit.cache")

_OPTIMIZED = 1  # of a code's flags: that of a function


class _Definition(NamedTuple):
    """What is known of a function, also when it is gone."""

    named: tuple[str, str]
    code: CodeType
    inner: CodeType
    """That of the function that other decorators have wrapped, or the same."""
    around: "weakref.ref[CodeType] | None"
    """The code that it was defined by."""

    @property
    def closure(self) -> set[str]:
        """The names of what it takes from around it, but for the class that ``super()`` asks for."""
        return {*self.code.co_freevars} - {"__class__"}

    @property
    def place(self) -> str:
        return f"{os.path.basename(self.inner.co_filename)}:{self.inner.co_firstlineno}"

    @property
    def takes(self) -> str:
        """What an argument could give it, by name: not what a decorator has around it."""
        return ", ".join(sorted(self.closure)) if self.inner is self.code else ""

    def is_again(self, other: "_Definition") -> bool:
        """Whether it is ``other``, in a module that was reloaded."""
        places = [(one.code.co_filename, one.code.co_firstlineno) for one in (self, other)]
        return places[0] == places[1] and not self.closure and not other.closure

    def replaces(self, other: "_Definition") -> bool:
        """Whether what it stands in has been run anew since ``other`` was defined there."""
        if self.around is None or other.around is None or self.named != other.named:
            return False
        return self.around() is not other.around()  # of what has been collected, nothing is left


class Definitions:
    """The functions of one cache by their names."""

    def __init__(self) -> None:
        self._functions: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self._known: dict[str, _Definition] = {}

    def add(self, name: str, cached: Any, function: Any) -> None:
        """``cached``, the twin of ``function``, is called ``name`` from now on.

        Raises:
            ConfigurationError: another one is.
        """
        around = _around(function)
        new = _Definition(
            (function.__module__, function.__qualname__),
            function.__code__,
            getattr(inspect.unwrap(function), "__code__", function.__code__),
            None if around is None else weakref.ref(around),
        )
        former = self._known.get(name)
        # What a function closed over no key shows, and its results outlive it.
        if former is not None and (name in self._functions or former.closure) and not new.is_again(former):
            if not new.replaces(former):
                raise ConfigurationError(
                    f"two cached functions are called {name}; {_cure(new)} ({former.place}, {new.place})"
                )
            if new.takes or _body(former.inner) != _body(new.inner):
                log.warning(
                    "%s is defined anew, perhaps for other results: what is stored is served until it ends. "
                    "Drop it with its .invalidate(), or all with the cache's clear()",
                    name,
                )
        self._functions[name] = cached
        self._known[name] = new


def _cure(new: _Definition) -> str:
    if not new.takes:
        return "give one of them a name="
    return (
        "give one of them a name=, or define it once, outside of the function around it, and pass "
        f"{new.takes} as arguments: what a function takes from around it is not in its keys"
    )


def _around(function: Any) -> CodeType | None:
    """The code of the module, the cell or the function that defines ``function``, which is on the stack."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if any(one is function.__code__ for one in frame.f_code.co_consts):
            while _is_class_body(frame) and frame.f_back is not None:
                frame = frame.f_back
            return frame.f_code
        frame = frame.f_back
    if "<locals>" in function.__qualname__:
        return None
    # It was defined before, or by another decorator, and is cached by a statement of its module.
    frame = sys._getframe(1)
    while frame is not None and not _is_module(frame, function.__module__):
        frame = frame.f_back
    return None if frame is None else frame.f_code


def _is_module(frame: FrameType, name: str) -> bool:
    return (
        not frame.f_code.co_flags & _OPTIMIZED
        and frame.f_locals is frame.f_globals
        and frame.f_globals.get("__name__") == name
    )


def _is_class_body(frame: FrameType) -> bool:
    return not frame.f_code.co_flags & _OPTIMIZED and frame.f_locals is not frame.f_globals


def _body(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(_body(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts)
    return code.co_code, code.co_names, constants
