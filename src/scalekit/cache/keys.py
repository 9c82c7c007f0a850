"""Cache keys: the same call has one key, and different calls have different ones.

Rules:

* Arguments are bound to the function's signature first: ``f(1)``, ``f(a=1)`` and ``f(1, b=default)`` are
  one call. How values are told apart: :mod:`scalekit.cache.spelling`.
* What belongs to the caller and not to the question (a database session or connection, a request, a
  response) is left out. ``None`` is left out with it: a session that may be missing does not make two keys.
  Anything else that has no stable spelling is an error that names the parameter.
* A question (an invalidation) may do without the parameters that by their annotation take such a value and
  nothing else, and without those in ``ignore``. What it means depends on the signature alone, never on
  earlier calls.
"""

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

from scalekit.cache.spelling import SCALARS, Unspeakable, spell
from scalekit.errors import ConfigurationError, UncacheableArgument

_READABLE = 100  # characters of the function's name that a key shows; all of it is in the digest

# By the package and the class name, anywhere among the bases: nothing is imported to recognise them.
_CALLERS_OWN = {
    ("sqlalchemy", "Session"),
    ("sqlalchemy", "AsyncSession"),
    ("sqlalchemy", "scoped_session"),
    ("sqlalchemy", "async_scoped_session"),
    ("sqlalchemy", "Connection"),
    ("sqlalchemy", "AsyncConnection"),
    ("sqlalchemy", "Engine"),
    ("sqlalchemy", "AsyncEngine"),
    ("starlette", "HTTPConnection"),
    ("starlette", "Response"),
    ("starlette", "BackgroundTask"),
    ("werkzeug", "Request"),
    ("werkzeug", "Response"),
    ("django", "HttpRequest"),
    ("django", "HttpResponseBase"),
}
_callers_own: dict[type, bool] = {}


def is_callers_own(cls: type) -> bool:
    """Whether values of ``cls`` belong to one caller (a session, a request): they never enter a key."""
    known = _callers_own.get(cls)
    if known is None:
        known = any(
            (base.__module__.partition(".")[0], base.__name__) in _CALLERS_OWN for base in cls.__mro__
        )
        _callers_own[cls] = known
    return known


def _needs_no_key(value: Any) -> bool:
    return value is None or (type(value) not in SCALARS and is_callers_own(type(value)))


class Keys:
    """Makes the keys of one function.

    Args:
        function: whose signature arguments are bound to.
        name: the function's identity, the same on every server.
        ignore: parameters that never enter the key.
        fingerprint: of the return type; another one makes other keys.

    Raises:
        ConfigurationError: ``ignore`` names no parameter.
    """

    def __init__(
        self, function: Callable[..., Any], *, name: str, ignore: Iterable[str] = (), fingerprint: str = ""
    ) -> None:
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters
        self._ignored = frozenset(ignore)
        unknown = self._ignored - parameters.keys()
        if unknown:
            raise ConfigurationError(f"ignore={sorted(unknown)!r}: {name} has no such parameter")
        self.name = name
        readable = "".join(
            char if char.isascii() and (char.isalnum() or char in "._") else "-" for char in name
        )
        self._start = f"{readable[:_READABLE]}:"
        self._seed = spell((name, fingerprint))
        hints = _hints(function)
        self._optional = self._ignored | {name for name in parameters if _says_callers_own(hints.get(name))}
        kinds = [parameter.kind for parameter in parameters.values()]
        self._simple = not {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}.intersection(
            kinds
        )
        self._names = tuple(parameters)
        self._positional = len(kinds) - kinds.count(inspect.Parameter.KEYWORD_ONLY)
        self._places = [
            name
            for name, value in parameters.items()
            if value.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        ]
        self._by_keyword = {
            name for name, value in parameters.items() if value.kind is not inspect.Parameter.POSITIONAL_ONLY
        }
        self._defaults = {
            name: value.default
            for name, value in parameters.items()
            if value.default is not inspect.Parameter.empty
        }

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, defaults applied.

        Raises:
            TypeError: the function cannot be called so; the message is Python's own.
        """
        if self._simple and len(args) <= self._positional:
            arguments = dict(zip(self._names, args, strict=False))
            taken = 0
            for name in self._names[len(args) :]:
                if name in kwargs and name in self._by_keyword:
                    arguments[name] = kwargs[name]
                    taken += 1
                elif name in self._defaults:
                    arguments[name] = self._defaults[name]
                else:
                    break
            else:
                if taken == len(kwargs):
                    return arguments
        # Anything unusual, and every mistake.
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def bind_question(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """As :meth:`bind`, but what does not enter the key may be missing.

        Raises:
            TypeError: an argument that enters the key is missing, or the function has no such parameter.
        """
        named = {
            name: value
            for name, value in kwargs.items()
            if name not in self._optional or not (name in self._ignored or _needs_no_key(value))
        }
        asked = [
            value
            for name, value in self._signature.parameters.items()
            if name not in self._optional or name in named
        ]
        try:
            bound = self._signature.replace(parameters=asked).bind(*self._asked(args), **named)
        except TypeError as error:
            raise TypeError(
                f"{self.name}: {error}; what does not enter the key is annotated as a session or a request, "
                "or named in ignore=(...)"
            ) from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def _asked(self, args: tuple[Any, ...]) -> list[Any]:
        """Positional arguments without those for optional parameters, which may be missing among them."""
        asked, rest = [], list(args)
        for name in self._places:
            if rest and name not in self._optional:
                asked.append(rest.pop(0))
            elif rest and _needs_no_key(rest[0]):
                del rest[0]
        return asked + rest

    def key(self, arguments: dict[str, Any]) -> tuple[str, list[Any]]:
        """The key of a call, and the values that were left out because they belong to the caller.

        The key is printable ASCII, of at most 141 characters.

        Raises:
            UncacheableArgument: names the parameter.
        """
        digest = blake2b(self._seed, digest_size=20)
        left_out: list[Any] = []
        for name, value in arguments.items():
            if _needs_no_key(value):
                left_out.append(value)
            elif name not in self._ignored:
                try:
                    digest.update(b"%b=%b" % (name.encode(), spell(value)))
                except Unspeakable as unspeakable:
                    raise UncacheableArgument(
                        function=self.name, parameter=name, type_name=str(unspeakable)
                    ) from None
        return self._start + digest.hexdigest(), left_out


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations, resolved if they can be; names imported for the type checker alone stay strings."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return dict(getattr(function, "__annotations__", {}))


def _says_callers_own(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return not {name for _, name in _CALLERS_OWN}.isdisjoint(re.findall(r"\w+", annotation))
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        # One that may also be data has to be given, or the question would not say which.
        return all(part is type(None) or _says_callers_own(part) for part in typing.get_args(annotation))
    if origin is typing.Annotated:
        return _says_callers_own(typing.get_args(annotation)[0])
    cls = annotation if origin is None else origin
    return isinstance(cls, type) and is_callers_own(cls)
