"""Results as bytes and back.

Rules:

* The return annotation says how a result is read back. What it leaves open (``Any``, or no annotation) is
  written with what it is: plain data, and scalars such as ``Decimal``, ``UUID`` and dates.
* What comes back must be what went in: it is read back once before it is stored, and compared. So a list
  stays a list, a ``Decimal`` a ``Decimal``; what would change is refused with ``UncacheableResult``.
  One exception: an aware datetime comes back as the same moment in UTC.
* Everybody gets what was read back, the caller who ran the function too: a hit and a miss look alike, and
  nobody holds an object that another caller could change.
* No pickle, unless the function asks for it with a secret (see :mod:`scalekit.cache.pickled`): reading a
  cache entry never runs code that it names.
* An object of the ORM belongs to a database session, and is refused.
"""

import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Protocol

import msgspec

from scalekit.cache.annotations import field_names, is_mapped, is_model, is_row, returned, why_not, within
from scalekit.cache.fingerprint import describe
from scalekit.cache.immutability import copier, is_immutable
from scalekit.cache.same import same
from scalekit.cache.untyped import Buffer, encode, holds_untyped, prepared, read_custom, read_extension
from scalekit.errors import ConfigurationError, UncacheableResult
from scalekit.types import SecretKey

_CURE = "return plain data, a dataclass, a NamedTuple, a TypedDict or a msgspec.Struct, and annotate it"


# What reading may raise: with what does not fit, __post_init__ and validators of the application run as well,
# and may raise anything. Whatever it is, there is no value.
UNREADABLE = (Exception,)
# Errors by which it is said that a value cannot be written.
_UNWRITABLE = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)


class Form(Protocol):
    """How results of one type are written."""

    def write(self, result: Any) -> Iterator[bytes]:
        """The ways to write it, best first: the first that comes back as it was is taken."""
        ...

    def read(self, payload: Buffer, /) -> Any: ...


class Codec:
    """Encodes and decodes the results of one function; :func:`codec_for` makes it.

    Attributes:
        immutable: whether one decoded object may be handed to many callers.
        copy: what makes a private object of a decoded one; ``None``: only to decode once more does.
        fingerprint: what the return type looks like; it goes into the keys, so that a change of it is a miss.
        decode: what :meth:`encode` was given, from bytes or a slice of a buffer. Raises one of
            ``UNREADABLE``: the bytes are of another type, as after a change of the annotation.
    """

    def __init__(
        self,
        form: Form,
        *,
        name: str,
        fingerprint: str,
        immutable: bool,
        copy: Callable[[Any], Any] | None,
        annotated: bool,
        alike: Callable[[Any, Any], bool] = same,
    ) -> None:
        self._form, self._name, self._annotated, self._alike = form, name, annotated, alike
        self.fingerprint, self.immutable, self.copy = fingerprint, immutable, copy
        self.decode = form.read

    def encode(self, result: Any) -> bytes:
        """``result`` as bytes.

        Raises:
            UncacheableResult: it cannot be written, or would come back as something else.
        """
        reason = "it would come back as another type or value"
        try:
            for payload in self._form.write(result):
                try:
                    back = self.decode(payload)
                except UNREADABLE as error:
                    reason = f"it is not what {self._name} is annotated to return: {error}"
                else:
                    if self._alike(result, back):
                        return payload
        except _UNWRITABLE as error:
            reason = str(error)
        raise self._refusal(result, reason)

    def _refusal(self, result: Any, reason: str) -> UncacheableResult:
        start = f"{self._name}: a {type(result).__name__} result cannot be cached, "
        try:
            mapped = _mapped_in(result)
        except RecursionError:  # it holds itself, or is nested as deep
            mapped = None
        if mapped is not None:
            return UncacheableResult(f"{start}it holds {why_not(mapped)}, and annotate it")
        if not self._annotated:
            reason += "; it has no return annotation, so it is read back as plain data"
        return UncacheableResult(f"{start}{reason}; {_cure_for(result)}")


def _cure_for(result: Any) -> str:
    cls = type(result)
    if any(base.__module__ == "sqlalchemy.engine.result" for base in cls.__mro__):
        return "return what its .all() gives, and annotate it, such as Sequence[Row[int, str]]"
    if inspect.iscoroutine(result):
        result.close()
        return "await it in the function"
    one = next(iter(result), None) if isinstance(result, list | tuple) and not is_row(cls) else result
    if is_row(type(one)):
        of = "Row[int, str]" if one is result else "Sequence[Row[int, str]]"
        return f"annotate it, such as -> {of} (Row[tuple[int, str]] before SQLAlchemy 2.1); or {_CURE}"
    return _CURE


def codec_for(function: Callable[..., Any], *, name: str, pickle: SecretKey | None = None) -> Codec:
    """The codec for what ``function`` returns. Functions that return one type share what reads it.

    Args:
        function: whose return annotation is used.
        name: the function's name, for messages and signatures.
        pickle: secrets to sign pickled results with, oldest first; ``None``: no pickle.

    Raises:
        ConfigurationError: the annotation cannot be resolved, can never be read back, or names a class of the
            ORM; or the secrets are none.
    """
    annotated = "return" in getattr(function, "__annotations__", {})
    return codec_of(returned(function, name=name), name=name, annotated=annotated, pickle=pickle)


def codec_of(
    annotation: Any,
    *,
    name: str,
    annotated: bool = True,
    pickle: SecretKey | None = None,
    around: Callable[[Form], Form] = lambda form: form,
) -> Codec:
    """The codec for results of a type; see :func:`codec_for`. ``around`` makes another form of theirs."""
    for part in within(annotation):
        if is_mapped(part):
            raise ConfigurationError(f"{name} cannot be cached: it returns {why_not(part)}")
    if pickle is not None:
        from scalekit.cache.pickled import Pickled

        return Codec(
            around(Pickled(pickle, name=name)),
            name=name,
            fingerprint=f"pickle:{describe(annotation)}",
            immutable=is_immutable(annotation),
            copy=copier(annotation),
            annotated=True,
            # Objects need not have an equality that tells.
            alike=lambda result, back: type(result) is type(back),
        )
    return Codec(
        around(_form_for(annotation, name)),
        name=name,
        fingerprint=describe(annotation),
        immutable=is_immutable(annotation),
        copy=copier(annotation),
        annotated=annotated,
    )


_forms: weakref.WeakValueDictionary[Any, Form] = weakref.WeakValueDictionary()


def _form_for(annotation: Any, name: str) -> Form:
    try:
        shared = _forms.get(annotation)
    except TypeError:  # something in Annotated that has no hash
        return _make_form(annotation, name)
    if shared is None:
        shared = _forms[annotation] = _make_form(annotation, name)
    return shared


def _make_form(annotation: Any, name: str) -> Form:
    parts = list(within(annotation))
    if any(map(is_row, parts)):
        from scalekit.cache.rows import Rows

        return Rows(annotation, name=name)
    if any(map(is_model, parts)):
        from scalekit.cache.models import Models

        return Models(annotation, name=name)
    return _Typed(annotation, name=name)


class _Typed:
    """What msgspec reads by itself."""

    def __init__(self, annotation: Any, *, name: str) -> None:
        self._annotation, self._open = annotation, holds_untyped(annotation)
        try:
            self.read = msgspec.msgpack.Decoder(
                annotation, dec_hook=read_custom, ext_hook=read_extension
            ).decode
        except (TypeError, NameError) as error:
            raise ConfigurationError(
                f"{name}: its return type cannot be read back ({error}); {_CURE}"
            ) from None

    def write(self, result: Any) -> Iterator[bytes]:
        yield encode(prepared(result, self._annotation) if self._open else result)


def _mapped_in(value: Any) -> type | None:
    """A class of the ORM that ``value`` has an object of."""
    if is_mapped(type(value)):
        return type(value)
    if isinstance(value, Mapping):
        inside: Iterable[Any] = value.values()
    elif isinstance(value, str | bytes | bytearray | memoryview):
        return None
    elif isinstance(value, Sequence | Set):
        inside = value
    else:
        cls: Any = type(value)
        inside = (getattr(value, name, None) for name in field_names(cls))
    return next(filter(None, map(_mapped_in, inside)), None)
