"""Cache keys: the same call has one key, and different calls have different ones.

Rules:

* Arguments are bound to the function's signature first: ``f(1)``, ``f(a=1)`` and ``f(1, b=default)`` are
  one call.
* What belongs to the caller and not to the question (a database session or connection, a request, a
  response) is left out. ``None`` is left out with it: a session that may be missing does not make two keys.
  Anything else that has no stable spelling is an error that names the parameter. Of a request the log tells,
  unless it is in ``ignore``: what is computed for one visitor is served to all.
* Where every value is a plain scalar, exactly and not a subclass, the values are written by msgpack, which
  tells them apart as well and is quicker; all others are spelled (:mod:`scalekit.cache.spelling`). The two
  begin differently. Which one it is depends on the values alone, so a call has one key all the same.
* A question (an invalidation) may do without the parameters that by their annotation take such a value and
  nothing else, and without those in ``ignore``. What it means depends on the signature alone, never on
  earlier calls.
"""

import inspect
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from scalekit.cache.functions import Parameter, is_callers_own, is_request, parameters_of, tell_request
from scalekit.cache.spelling import SCALARS, Unspeakable, spell
from scalekit.errors import ConfigurationError, UncacheableArgument

_READABLE = 100  # characters of the function's name that a key shows; all of it is in the digest

QUICK = frozenset({type(None), bool, int, float, str, bytes})
"""The types that msgpack tells apart, value by value."""

write = msgspec.msgpack.Encoder().encode
UNWRITABLE = (OverflowError, UnicodeEncodeError)
"""An int of more than 64 bits, half of a surrogate pair."""


def _needs_no_key(value: Any) -> bool:
    return value is None or (type(value) not in SCALARS and is_callers_own(type(value)))


class Keys:
    """Makes the keys of one function.

    Args:
        function: whose signature arguments are bound to.
        name: the function's identity, the same on every server.
        ignore: parameters that never enter the key.
        fingerprint: of the return type; another one makes other keys.
        takes_self: whether the first parameter is the instance or the class that a method is called on.
        identity: what of that enters the key.

    Raises:
        ConfigurationError: ``ignore`` names no parameter, or there is nothing for ``identity``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        ignore: Iterable[str] = (),
        fingerprint: str = "",
        takes_self: bool = False,
        identity: Callable[[Any], Any] | None = None,
    ) -> None:
        if identity is not None and not (takes_self and callable(identity)):
            raise ConfigurationError(
                f"identity= of {name}: a function of self, for a method, such as lambda self: self.tenant"
            )
        self.name = name
        self.identity = identity
        self.parameters = parameters_of(function, name=name, ignore=ignore, takes_self=takes_self)
        self._signature = inspect.signature(function)
        readable = "".join(
            char if char.isascii() and (char.isalnum() or char in "._") else "-" for char in name
        )
        self.start = f"{readable[:_READABLE]}:"
        self._spelled = blake2b(b"s%b" % spell((name, fingerprint)), digest_size=20)
        names = tuple(parameter.name for parameter in self.parameters)
        self.quick = blake2b(b"q%b" % spell((name, fingerprint, names)), digest_size=20)
        """The beginning of a digest to which all values are added as one msgpack array."""
        self._roles = {parameter.name: parameter.role for parameter in self.parameters}
        # Parameters that a question may leave out.
        self._optional = {name for name, role in self._roles.items() if role in ("ignored", "caller")}
        kinds = [parameter.kind for parameter in self.parameters]
        self.simple = not {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}.intersection(
            kinds
        )
        """Whether the parameters are all there is: no ``*args``, no ``**kwargs``."""
        self._names = names
        self._told: set[str] = set()  # parameters without an annotation that were given a request
        self._positional = len(kinds) - kinds.count(inspect.Parameter.KEYWORD_ONLY)
        self._places = [
            parameter.name
            for parameter in self.parameters
            if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        ]
        self._by_keyword = {
            parameter.name
            for parameter in self.parameters
            if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY
        }
        self._defaults = {
            parameter.name: parameter.default
            for parameter in self.parameters
            if parameter.default is not inspect.Parameter.empty
        }

    def asks(self, parameter: Parameter) -> bool:
        """Whether what is given for ``parameter`` enters the key."""
        return parameter.role == "key" or (parameter.role == "self" and self.identity is not None)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, defaults applied.

        Raises:
            TypeError: the function cannot be called so; the message is Python's own.
        """
        if self.simple and len(args) <= self._positional:
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
            if name not in self._optional or not (self._roles[name] == "ignored" or _needs_no_key(value))
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
        asked, left_out = self.question(arguments)
        values = asked.values()
        if QUICK.issuperset(map(type, values)):
            digest = self.quick.copy()
            try:
                digest.update(write(tuple(values)))
            except UNWRITABLE:
                pass
            else:
                return self.start + digest.hexdigest(), left_out
        digest = self._spelled.copy()
        for name, value in asked.items():
            if value is None:
                continue
            try:
                digest.update(b"%b=%b" % (name.encode(), spell(value)))
            except Unspeakable as unspeakable:
                raise UncacheableArgument(
                    function=self.name, parameter=name, type_name=str(unspeakable)
                ) from None
        return self.start + digest.hexdigest(), left_out

    def question(self, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        """What enters the key, and what of it belongs to the caller and enters it as ``None``."""
        asked: dict[str, Any] = {}
        left_out: list[Any] = []
        for name, role in self._roles.items():
            value = arguments.get(name)
            if role == "self":
                value = None if self.identity is None else self.identity(value)
            if value is not None and _needs_no_key(value):
                left_out.append(value)
                if role == "key" and name not in self._told and is_request(type(value)):
                    self._told.add(name)
                    tell_request(self.name, name)
                value = None
            asked[name] = None if role == "ignored" else value
        return asked, left_out
