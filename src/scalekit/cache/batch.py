"""Many results by their ids: one question to the back end for all, one run for those it does not have.

Rules:

* Each id has an entry, a lease, a key and tags of its own, as if the function were called with one id at a
  time. All rules of single calls hold for each (see :mod:`scalekit.cache.group`).
* An id that the function does not return is absent, and that is kept like a result: it is not asked for
  again. ``cache_if`` sees ``None`` for it.
* An id that was not asked for is a mistake (``"1"`` for ``1``), and refused: what was asked for would be kept
  as absent.
"""

import inspect
import re
import typing
from collections import OrderedDict
from collections.abc import (
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
    Set,
)
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial, update_wrapper
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, overload

from scalekit._steps import Steps, run, run_async
from scalekit.cache._core import Core
from scalekit.cache.annotations import returned, unwrapped
from scalekit.cache.codecs import Codec, Form, codec_of
from scalekit.cache.dirty import in_registries
from scalekit.cache.functions import Decorated, decorated, refuse_coroutine
from scalekit.cache.group import Group, Run
from scalekit.cache.keys import Keys
from scalekit.cache.methods import in_place_of
from scalekit.cache.options import Life
from scalekit.cache.query import Call, Query
from scalekit.cache.sessions import has_changes
from scalekit.cache.templates import Templates
from scalekit.cache.untyped import Buffer
from scalekit.cache.uses import running
from scalekit.errors import BackendError, ConfigurationError, UncacheableResult
from scalekit.types import SecretKey

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
K = TypeVar("K")
V = TypeVar("V")


class AsyncBatch(Protocol[P, K, V]):
    """A cached ``async def`` of many ids."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, dict[K, V]]: ...

    @overload
    def __get__(self, instance: None, owner: type, /) -> "AsyncBatch[P, K, V]": ...

    @overload
    def __get__(
        self: "AsyncBatch[Concatenate[S, Q], K, V]", instance: S, owner: type | None = None, /
    ) -> "AsyncBatch[Q, K, V]": ...

    async def invalidate(self, *ids: Any, **others: Any) -> None:
        """Drop the results of these ids, on every server; one command for all.

        Args:
            ids: any number of them.
            others: the other arguments that enter the key, by name.

        Raises:
            BackendError: the back end could not be told.
            TypeError: an argument that enters the key is missing.
        """

    def key(self, id: Any, /, **others: Any) -> str:
        """The key of one id, without the back end's prefix."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, dict[K, V]]:
        """Run the function now, for all of these ids, and store what it returns in place of what is there."""
        ...

    def bypass(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, dict[K, V]]:
        """Run the function without the cache: nothing is read from it, and nothing stored."""
        ...


class SyncBatch(Protocol[P, K, V]):
    """A cached ``def`` of many ids. As :class:`AsyncBatch`, with plain calls."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> dict[K, V]: ...

    @overload
    def __get__(self, instance: None, owner: type, /) -> "SyncBatch[P, K, V]": ...

    @overload
    def __get__(
        self: "SyncBatch[Concatenate[S, Q], K, V]", instance: S, owner: type | None = None, /
    ) -> "SyncBatch[Q, K, V]": ...

    def invalidate(self, *ids: Any, **others: Any) -> None:
        """Drop the results of these ids, on every server; see :meth:`AsyncBatch.invalidate`."""

    def key(self, id: Any, /, **others: Any) -> str:
        """The key of one id, without the back end's prefix."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> dict[K, V]:
        """Run the function now, for all of these ids, and store what it returns in place of what is there."""
        ...

    def bypass(self, *args: P.args, **kwargs: P.kwargs) -> dict[K, V]:
        """Run the function without the cache: nothing is read from it, and nothing stored."""
        ...


class _Absent(Enum):
    ABSENT = "absent"


_ASK = object()
ABSENT: Final = _Absent.ABSENT
"""The result of an id that the function has not returned."""


class _OrAbsent:
    """A form with no bytes at all for what is absent: nothing else is written so."""

    def __init__(self, form: Form) -> None:
        self._form = form

    def write(self, result: Any) -> Iterator[bytes]:
        if result is ABSENT:
            yield b""
        else:
            yield from self._form.write(result)

    def read(self, payload: Buffer, /) -> Any:
        return self._form.read(payload) if len(payload) else ABSENT


def codec_for_values(function: Callable[..., Any], *, name: str, pickle: SecretKey | None) -> Codec:
    """The codec for one value of what ``function`` returns.

    Raises:
        ConfigurationError: by its annotation that is no dict, or the values cannot be read back.
    """
    annotation = unwrapped(returned(function, name=name))
    cls, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if cls not in (Any, dict, Mapping, MutableMapping):
        raise ConfigurationError(f"{name}: cache.batch wraps a function that returns a dict of results by id")
    value = arguments[1] if arguments else Any
    return codec_of(value, name=name, annotated=bool(arguments), pickle=pickle, around=_OrAbsent)


def stored_if(cache_if: Callable[[Any], bool] | None) -> Callable[[Any], bool] | None:
    """``cache_if`` for results that may be absent."""
    if cache_if is None:
        return None
    return lambda result: cache_if(None if result is ABSENT else result)


_SERIES = (list, tuple, set, frozenset, Sequence, Collection, Iterable, Set)


@dataclass(frozen=True, kw_only=True)
class Over:
    """The parameter that takes the ids, and what it is given them in."""

    name: str
    make: Callable[[list[Any]], Any]


def over(function: Callable[..., Any], named: str | None, *, name: str, keys: Iterable[str]) -> Over:
    """The parameter of ``function`` that takes the ids: ``named``, or the only one of a series.

    Args:
        keys: the parameters that enter the key.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):
        hints = {}
    known = list(keys)
    if named is None:
        series = [parameter for parameter in known if _class_of(hints.get(parameter)) in _SERIES]
        if len(series) != 1:
            raise ConfigurationError(
                f"{name}: which of its parameters takes the ids? Annotate one of them, such as "
                'ids: list[int], or say over="ids"'
            )
        named = series[0]
    elif named not in known:
        raise ConfigurationError(f"over={named!r}: {name} has no such parameter that enters the key")
    kind = _class_of(hints.get(named))
    make = {tuple: tuple, set: set, frozenset: frozenset, Set: frozenset}.get(kind, list)
    return Over(name=named, make=make)


def _class_of(hint: Any) -> Any:
    hint = unwrapped(hint)
    return typing.get_origin(hint) or hint


_ONE = re.compile(r"(?<!\{)\{id\}(?!\})")


class Batch:
    """From what a batch function is called with to its results."""

    def __init__(
        self, this: Decorated, *, core: Core, query: Query, keys: Keys, templates: Templates, over: Over
    ) -> None:
        self._function, self._is_async, self._takes_self = this.function, this.is_async, this.takes_self
        self._core, self._query, self._keys, self._templates = core, query, keys, templates
        self._over = over
        self._signature = inspect.signature(this.function)
        self._first = next(iter(self._signature.parameters))

    def fetch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Steps[dict[Any, Any]]:
        """The results by id, in the order in which the ids were given."""
        bound = self._bind(args, kwargs)
        calls = self._calls(bound)
        found = {one: self._kept(call) for one, call in calls.items()}
        rest = [one for one, result in found.items() if result is _ASK]
        if rest:
            group = Group(
                self._query, compute=partial(self._compute, bound), missing=ABSENT, is_async=self._is_async
            )
            fetches = [self._core.fetch(group.query, calls[one]) for one in rest]
            found.update(zip(rest, (yield from group.results(fetches)), strict=True))
        return {one: result for one, result in found.items() if result is not ABSENT}

    def refresh(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Steps[dict[Any, Any]]:
        keys = {call.key for call in self._calls(self._bind(args, kwargs)).values()}
        # If the back end cannot be told, it is not believed either until it has been.
        with suppress(BackendError):
            yield from self._core.invalidation.drop(self._query.via, keys=keys, tags=set())
        return (yield from self.fetch(args, kwargs))

    def bypass(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Steps[dict[Any, Any]]:
        bound = self._bind(args, kwargs)
        self._core.count("bypasses")
        ids = list(self._calls(bound))
        return (yield from self._compute(bound, ids)) if ids else {}

    def key(self, *args: Any, **others: Any) -> str:
        instance, (one,) = self._split(args)
        return self._key(instance, one, others)

    def drop(self, args: tuple[Any, ...], others: dict[str, Any]) -> Steps[None]:
        instance, ids = self._split(args)
        keys = {self._key(instance, one, others) for one in ids}
        yield from self._core.invalidation.drop(self._query.via, keys=keys, tags=set())

    def _split(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return (args[:1], args[1:]) if self._takes_self else ((), args)

    def _key(self, instance: tuple[Any, ...], one: Any, others: dict[str, Any]) -> str:
        if isinstance(one, list | set | dict):  # a tuple may be an id
            raise TypeError(
                f"{self._query.name}: {one!r:.60} is no id; give ids one by one, as in invalidate(*ids)"
            )
        return self._keys.key(self._keys.bind_question(instance, {**others, self._over.name: one}))[0]

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        """The arguments of a call, with a list of the ids."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments[self._over.name]
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
            raise TypeError(
                f"{self._query.name}: {self._over.name} is a {type(given).__name__}; give a list of ids"
            )
        bound.arguments[self._over.name] = list(given)
        return bound

    def _calls(self, bound: inspect.BoundArguments) -> dict[Any, Call]:
        return {
            one: self._call({**bound.arguments, self._over.name: one})
            for one in bound.arguments[self._over.name]
        }

    def _call(self, arguments: dict[str, Any]) -> Call:
        key, left_out = self._keys.key(arguments)
        item = Run(arguments[self._over.name])
        return Call(
            key=key,
            local=key,
            tags=self._templates.of(self._keys.question(arguments)[0]),
            run=lambda: item,
            left_out=left_out,
            arguments=arguments,
        )

    def _kept(self, call: Call) -> Any:
        """What this process has, or ``_ASK``. See :meth:`scalekit.cache.calls.Calls.kept`."""
        core = self._core
        if core.disabled or running() or has_changes(call.left_out) or in_registries(core.registries):
            return _ASK
        entry = core.local.get(call.local)
        if entry is None:
            return _ASK
        core.counter.local_hit()
        return entry.value if entry.decode is None else entry.decode(entry.value)

    def _compute(self, bound: inspect.BoundArguments, ids: list[Any]) -> Steps[dict[Any, Any]]:
        """One run of the function."""
        again = inspect.BoundArguments(self._signature, OrderedDict(bound.arguments))
        again.arguments[self._over.name] = self._over.make(ids)
        result = self._function(*again.args, **again.kwargs)
        if not self._is_async:
            refuse_coroutine(result, name=self._query.name)
        result = yield result
        if not isinstance(result, Mapping):
            raise UncacheableResult(
                f"{self._query.name} returned a {type(result).__name__}; return a dict of results by id"
            )
        asked = set(ids)
        for one in result:
            if one not in asked:
                raise UncacheableResult(
                    f"{self._query.name} returned the id {one!r:.60}, which it was not asked for; "
                    "return only the ids that it is given, with the type that they have"
                )
        return dict(result)


class BatchDecorator:
    """What :meth:`Cache.batch` returns."""

    def __init__(
        self,
        cache: Any,
        *,
        life: Life,
        tags: tuple[str, ...],
        ignore: tuple[str, ...],
        over: str | None,
        name: str | None,
        identity: Callable[[Any], Any] | None,
        cache_if: Callable[[Any], bool] | None,
        pickle_key: SecretKey | None,
    ) -> None:
        self._cache, self._life, self._tags, self._ignore, self._name = cache, life, tags, ignore, name
        self._over, self._cache_if, self._pickle_key = over, cache_if, pickle_key
        self._identity = identity

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, Mapping[K, V]]]) -> AsyncBatch[P, K, V]: ...

    @overload
    def __call__(self, function: Callable[P, Mapping[K, V]]) -> SyncBatch[P, K, V]: ...

    def __call__(self, function: Any) -> Any:
        this = decorated(function)
        name = self._name or f"{this.function.__module__}.{this.function.__qualname__}"
        codec = codec_for_values(this.function, name=name, pickle=self._pickle_key)
        keys = Keys(
            this.function,
            name=name,
            ignore=self._ignore,
            fingerprint=codec.fingerprint,
            takes_self=this.takes_self,
            identity=self._identity,
        )
        asked = [parameter.name for parameter in keys.parameters if keys.asks(parameter)]
        candidates = asked[1:] if self._identity is not None else asked  # without self
        ids = over(this.function, self._over, name=name, keys=candidates)
        tags = self._tags
        if "id" not in asked:
            tags = tuple(_ONE.sub(f"{{{ids.name}}}", tag) for tag in tags)
        query = Query(
            name=name,
            via=self._cache._via_for(this, name),
            codec=codec,
            life=self._life,
            cache_if=stored_if(self._cache_if),
        )
        batch = Batch(
            this,
            core=self._cache._core,
            query=query,
            keys=keys,
            templates=Templates(tags, keys=keys, hint="; in a batch {id} is the id"),
            over=ids,
        )
        cached = wrap_batch(batch, this)
        self._cache._definitions.add(name, cached, this.function)
        return in_place_of(this, cached)


def wrap_batch(batch: Batch, this: Decorated) -> Any:
    """The cached twin of a function: a real function, as frameworks look at it."""
    fetch, *verbs = _async(batch) if this.is_async else _sync(batch)
    cached: Any = update_wrapper(fetch, this.function)
    for verb in verbs:
        setattr(cached, verb.__name__, verb)
    cached.key = batch.key
    return cached


def _async(batch: Batch) -> Any:
    async def fetch(*args: Any, **kwargs: Any) -> Any:
        return await run_async(batch.fetch(args, kwargs))

    async def refresh(*args: Any, **kwargs: Any) -> Any:
        return await run_async(batch.refresh(args, kwargs))

    async def bypass(*args: Any, **kwargs: Any) -> Any:
        return await run_async(batch.bypass(args, kwargs))

    async def invalidate(*ids: Any, **others: Any) -> None:
        await run_async(batch.drop(ids, others))

    return fetch, refresh, bypass, invalidate


def _sync(batch: Batch) -> Any:
    def fetch(*args: Any, **kwargs: Any) -> Any:
        return run(batch.fetch(args, kwargs))

    def refresh(*args: Any, **kwargs: Any) -> Any:
        return run(batch.refresh(args, kwargs))

    def bypass(*args: Any, **kwargs: Any) -> Any:
        return run(batch.bypass(args, kwargs))

    def invalidate(*ids: Any, **others: Any) -> None:
        run(batch.drop(ids, others))

    return fetch, refresh, bypass, invalidate
