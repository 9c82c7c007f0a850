"""From a function to its cached twin: what it is, how its results are read back, its keys and tags."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from scalekit.cache.afresh import Factory, afresh
from scalekit.cache.codecs import codec_for
from scalekit.cache.functions import decorated
from scalekit.cache.keys import Keys
from scalekit.cache.options import Life, Patience
from scalekit.cache.query import Query
from scalekit.cache.templates import Templates
from scalekit.cache.wrappers import AsyncCached, InClass, SyncCached, wrap
from scalekit.types import Colour, SecretKey

if TYPE_CHECKING:
    from scalekit.cache.declaring import CacheDecorators

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


class QueryDecorator:
    """What :meth:`scalekit.cache.Cache.query` returns; its options are checked there."""

    def __init__(
        self,
        cache: "CacheDecorators",
        *,
        life: Life,
        patience: Patience,
        tags: tuple[str, ...],
        ignore: tuple[str, ...],
        name: str | None,
        identity: Callable[[Any], Any] | None,
        cache_if: Callable[[Any], bool] | None,
        session: Factory | None,
        pickle_key: SecretKey | None,
    ) -> None:
        self._cache, self._life, self._tags, self._ignore, self._name = cache, life, tags, ignore, name
        self._patience, self._cache_if, self._session = patience, cache_if, session
        self._identity, self._pickle_key = identity, pickle_key
        self.refuses_again = False

    # Type checkers take a classmethod for the function that takes the class.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[type[S], P], Coroutine[Any, Any, T]]
    ) -> InClass[AsyncCached[P, T]]: ...

    @overload
    def __call__(self, function: Callable[Concatenate[type[S], P], T]) -> InClass[SyncCached[P, T]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits is meant
        self, function: Callable[P, Coroutine[Any, Any, T]]
    ) -> AsyncCached[P, T]: ...

    @overload
    def __call__(self, function: Callable[P, T]) -> SyncCached[P, T]: ...

    @overload
    def __call__(self, function: property) -> property: ...

    def __call__(self, function: Any) -> Any:
        this = decorated(function)
        name = self._name or f"{this.function.__module__}.{this.function.__qualname__}"
        codec = codec_for(this.function, name=name, pickle=self._pickle_key)
        keys = Keys(
            this.function,
            name=name,
            ignore=self._ignore,
            fingerprint=codec.fingerprint,
            takes_self=this.takes_self,
            identity=self._identity,
        )
        templates = Templates(self._tags, keys=keys)
        colour: Colour = "async" if this.is_async else "sync"
        core = self._cache._core
        query = Query(
            name=name,
            via=self._cache._via_for(this, name),
            codec=codec,
            life=self._life,
            patience=self._patience,
            cache_if=self._cache_if,
            is_async=this.is_async,
            afresh=afresh(
                this.function,
                name=name,
                colour=colour,
                life=self._life,
                patience=self._patience,
                factory=self._session,
                default=self._cache._session,
            ),
            refuses_again=self.refuses_again,
        )
        cached, in_place = wrap(this, core=core, query=query, keys=keys, templates=templates)
        self._cache._definitions.add(name, cached, this.function)
        return in_place
