"""Query results, cached: computed once, the same on every server, and dropped when what they read is changed.

::

    cache = Cache(RedisBackend.from_url("redis://localhost:6379/1"), local_entries=10_000)

    @cache.query(ttl=60, reads=[Product])
    async def top_products(session: AsyncSession, category: str) -> list[ProductRow]: ...

    cache.watch(session_maker)
    await top_products.invalidate(category="books")

The guarantees and their limits are in the how-to; the rules that make them hold stand at the head of
:mod:`~scalekit.cache.backend` (what is stored when), :mod:`~scalekit.cache.keys`,
:mod:`~scalekit.cache.codecs` and :mod:`~scalekit.cache.local` (the first tier).
"""

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

from scalekit._durations import Duration, seconds
from scalekit._options import check_count, check_function, check_items, check_kind, check_text, in_colour
from scalekit._steps import Steps, run, run_async
from scalekit.cache._core import Core, Via
from scalekit.cache.afresh import Factory
from scalekit.cache.backend import MAX_TAGS, Backend
from scalekit.cache.batch import AsyncBatch, BatchDecorator, SyncBatch
from scalekit.cache.channel import HasChannel
from scalekit.cache.debts import EVERYTHING
from scalekit.cache.decorating import QueryDecorator
from scalekit.cache.definitions import Definitions
from scalekit.cache.endpoints import ResponseDecorator
from scalekit.cache.functions import Decorated
from scalekit.cache.listening import Listener, block_of
from scalekit.cache.local import Local
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.namespaces import Block, Switch, disabled, forget, isolated
from scalekit.cache.options import Life, Patience
from scalekit.cache.response import rules
from scalekit.cache.stats import Counter, Hook, Stats
from scalekit.cache.tags import tags_of
from scalekit.cache.wrappers import AsyncCached, SyncCached
from scalekit.errors import ConfigurationError
from scalekit.types import Colour, SecretKey

__all__ = ["AsyncBatch", "AsyncCached", "Cache", "Stats", "SyncBatch", "SyncCached"]

P = ParamSpec("P")
T = TypeVar("T")

Unreachable: TypeAlias = Literal["commit", "refuse"]
"""What becomes of a commit that the back end cannot be told of."""


def _with_parentheses(method: Callable[P, T]) -> Callable[P, T]:
    """Of ``@cache.query`` without them Python says that it counts two arguments."""

    @wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if len(args) > 1:
            name = method.__name__
            raise ConfigurationError(f"cache.{name} takes its options by name: write @cache.{name}(ttl=60)")
        return method(*args, **kwargs)

    return checked


class Cache:
    """A cache of query results over a back end.

    Args:
        backend: a ``RedisBackend``, a ``MemcachedBackend`` or a ``MemoryBackend``, or one of your own.
        local_entries: how many results this process also keeps in its own memory, in front of the back end; 0
            (default) keeps none.
        local_bytes: how many bytes these may take together, 64 MiB by default. Estimated: 600 each, and the
            result's size in the back end, five times that for one that is kept as an object.
        local_ttl: how stale those may be, in seconds: so long may this process serve a result that *another*
            server has invalidated; what this process invalidates itself is gone at once. 1 by default.
        channel: whether to listen for what other servers invalidate, where the back end can tell (Redis).
            Mostly that is gone within milliseconds then, ``local_ttl`` is for when the connection is lost,
            and results stay in memory for their whole ``ttl``. Without it they stay for ``local_ttl``.
        session: what makes a session for runs in the background, of functions that take one: a
            ``sessionmaker``, ``cluster.session``, or a generator function that yields one. Functions that
            take none do not use it: what they need, such as ``app.app_context``, goes to :meth:`query`.

    Raises:
        ConfigurationError: ``backend`` is none, or a number is out of range.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        local_entries: int = 0,
        local_bytes: int = 64 * 1024 * 1024,
        local_ttl: Duration = 1.0,
        channel: bool = True,
        session: Factory | None = None,
    ) -> None:
        check_count(local_entries, option="local_entries=", least=0, cure="0 keeps none in this process")
        check_count(local_bytes, option="local_bytes=", least=1, cure="64 * 1024 * 1024 is the default")
        check_kind(
            backend,
            Backend,
            option="backend=",
            wanted="a back end, such as RedisBackend.from_url(url), RedisBackend(client) or MemoryBackend()",
        )
        self._backend = Switch(backend)
        self._session = session
        self._counter = counter = Counter()
        # In front of this process's own memory a second tier would add nothing but staleness.
        entries = 0 if backend.local else local_entries
        bound = seconds(local_ttl, name="local_ttl")
        speaking = backend if channel and entries and bound and isinstance(backend, HasChannel) else None
        local = Local(max_entries=entries, max_bytes=local_bytes, ttl=bound, reported=speaking is not None)
        self._core = core = Core(local=local, counter=self._counter)
        if speaking is not None:
            core.listener = Listener(
                local,
                speaking.channel(block=block_of(bound)),
                ttl=bound,
                hits=lambda: counter.snapshot().local_hits,  # not by way of self, which may go
                lost=lambda: counter.add("losses"),
                owner=core,
            )
        self._vias: dict[Colour, Via] = {}
        self._definitions = Definitions()

    @_with_parentheses
    def query(
        self,
        *,
        ttl: Duration,
        reads: Iterable[object] = (),
        tags: Iterable[str] = (),
        ignore: Iterable[str] = (),
        name: str | None = None,
        identity: Callable[[Any], Any] | None = None,
        jitter: float = 0.1,
        early_refresh: float = 0.0,
        stale_while_revalidate: Duration = 0.0,
        stale_if_error: Duration = 0.0,
        soft_timeout: Duration | None = None,
        hard_timeout: Duration | None = None,
        throttle: Duration = 1.0,
        session: Factory | None = None,
        cache_if: Callable[[Any], bool] | None = None,
        pickle_key: SecretKey | None = None,
    ) -> "QueryDecorator":
        """Cache what a function returns, a ``def`` or an ``async def``.

        Its return annotation says how a result is read back. Sessions, connections, requests and responses
        among its arguments do not enter the key. A function that takes a request is warned of in the log,
        unless ``ignore`` names it: its results are for all visitors.

        Args:
            ttl: seconds that a result is served at most.
            reads: what the function reads: mapped classes, tables, or names of tables. A commit that changes
                one of them, in a session that :meth:`watch` knows, drops the results.
            tags: more names to drop them by, with :meth:`invalidate_tags`. ``"product:{id}"`` is another one
                for each value of the parameter ``id``.
            ignore: parameters that do not change the result; they are left out of the key.
            name: the function's identity in the keys; default its module and qualified name.
            identity: of a method: what of ``self`` (or ``cls``) enters the key, as in
                ``identity=lambda self: self.tenant``. Without it all instances share results.
            jitter: the part of ``ttl``, 0 to 0.5, by which it is shortened at random for each result.
            early_refresh: how eagerly a result is computed anew in the background before it ends (XFetch's
                beta): 1 is the usual eagerness, 0 (default) never does.
            stale_while_revalidate: seconds after its end for which a result is served at once, while it is
                computed anew in the background.
            stale_if_error: seconds after its end for which a result is served if the function fails, or takes
                longer than ``soft_timeout``.
            soft_timeout: seconds that a caller waits if such a result is at hand. The function goes on in the
                background.
            hard_timeout: seconds that a caller waits at all. Then :class:`~scalekit.errors.QueryTimeout`, or
                what ``stale_if_error`` lets it have. An ``async def`` is cancelled; a ``def`` goes on in its
                thread, and what it returns is stored.
            throttle: seconds between two attempts while the function fails and a result is served instead.
            session: what makes a session for runs in the background, which never use a caller's; default the
                cache's own. It is entered around each of them: for a function that takes no session it may be
                ``app.app_context``.
            cache_if: which results are stored, by the result: ``bool`` stores none that is empty, and without
                it ``None`` and empty lists are results like any other.
            pickle_key: one secret or several (the last one signs, all are accepted): results are pickled and
                signed. For what nothing else can write; without it nothing is ever unpickled.

        Raises:
            ConfigurationError: an option is wrong, the return annotation cannot be used, or another function
                of this cache has the same name. One that is defined again, in a module that was reloaded or a
                cell of a notebook, takes the place of the former.
            WrongColour: an ``async def`` with a synchronous client, or the reverse.

        Calls raise :class:`~scalekit.errors.UncacheableArgument` for an argument that has no stable key, and
        :class:`~scalekit.errors.UncacheableResult` for a result that would not come back as it was.
        """
        _check_called(name, cache_if)
        all_tags = _all_tags(reads, tags)
        life = Life(
            ttl,
            jitter=jitter,
            stale_while_revalidate=stale_while_revalidate,
            stale_if_error=stale_if_error,
            early_refresh=early_refresh,
        )
        patience = Patience(soft_timeout=soft_timeout, hard_timeout=hard_timeout, throttle=throttle)
        ignored = check_items(ignore, option="ignore=")
        return QueryDecorator(
            self,
            life=life,
            patience=patience,
            tags=all_tags,
            ignore=ignored,
            name=name,
            identity=identity,
            cache_if=cache_if,
            session=session,
            pickle_key=pickle_key,
        )

    @_with_parentheses
    def batch(
        self,
        *,
        ttl: Duration,
        reads: Iterable[object] = (),
        tags: Iterable[str] = (),
        over: str | None = None,
        ignore: Iterable[str] = (),
        name: str | None = None,
        identity: Callable[[Any], Any] | None = None,
        jitter: float = 0.1,
        cache_if: Callable[[Any], bool] | None = None,
        pickle_key: SecretKey | None = None,
    ) -> "BatchDecorator":
        """Cache what a function returns for many ids, each by itself.

        The function takes a list of ids, besides a session or whatever else, and returns a dict of results by
        id. A call asks the back end once for all ids, and the function once for those it does not have. Ids
        that another process or task is computing are waited for. An id that is not in the function's dict is
        not in the result either, and is remembered as absent.

        Args:
            over: the parameter that takes the ids; by default the only one that is annotated as a list, a
                tuple, a set or another series.
            tags: as for :meth:`query`. ``"product:{id}"`` is another one for each id.
            cache_if: as for :meth:`query`; ``None`` stands for what is absent.

        The other options and the errors are as for :meth:`query`. There is none for runs in the background or
        time-outs. Counts are by id.
        """
        _check_called(name, cache_if)
        return BatchDecorator(
            self,
            life=Life(ttl, jitter=jitter),
            tags=_all_tags(reads, tags),
            ignore=check_items(ignore, option="ignore="),
            over=over,
            name=name,
            identity=identity,
            cache_if=cache_if,
            pickle_key=pickle_key,
        )

    @_with_parentheses
    def response(
        self,
        *,
        ttl: Duration,
        reads: Iterable[object] = (),
        tags: Iterable[str] = (),
        vary: Iterable[str] = (),
        ignore_cookies: Iterable[str] = (),
        ignore: Iterable[str] = (),
        max_age: Duration = 0,
        max_size: int = 1_048_576,
        name: str | None = None,
    ) -> "ResponseDecorator":
        """Cache the page that an endpoint of FastAPI or Starlette, or a view of Flask, makes.

        For pages that are the same for everybody. What is not is not kept, and is returned as it is: requests
        with ``Authorization`` or cookies, responses that set a cookie or are private, runs that read the
        session (all rules: :mod:`scalekit.cache.response`). Put it under the route's decorator.

        Args:
            ttl: seconds that a page is kept at most.
            reads: as of :meth:`query`.
            tags: as of :meth:`query`.
            vary: request headers that the page depends on, such as ``"accept-language"``.
            ignore_cookies: cookies that do not change the page; ``"_ga*"`` stands for all that begin so.
            ignore: parameters of the function that do not change the page, such as a service object. All else
                that it is given enters the key, as the user of a dependency does.
            max_age: seconds that browsers and proxies may keep the page without asking. 0 (default) has them
                ask each time, and get a 304: nobody can recall what they keep.
            max_size: bytes of the largest body that is kept, 1 MiB by default.
            name: the endpoint's identity in the keys; default its module and qualified name.

        Returns:
            A decorator. What it makes has a method ``invalidate("/path", ...)`` besides, which drops all
            variants of these pages.

        Raises:
            ConfigurationError: an option is wrong.
        """
        _check_called(name)
        return ResponseDecorator(
            self,
            rules=rules(
                vary=check_items(vary, option="vary="),
                ignore_cookies=check_items(ignore_cookies, option="ignore_cookies="),
                ignore=check_items(ignore, option="ignore="),
                max_age=seconds(max_age, name="max_age"),
                max_size=max_size,
            ),
            name=name,
            options={"ttl": ttl, "reads": check_items(reads, option="reads="), "tags": tags},
        )

    async def invalidate_tags(self, *things: object) -> None:
        """Drop every result that carries one of these tags or reads one of these tables, on every server.

        One command, however many results there are.

        Raises:
            BackendError: the back end could not be told.
            ConfigurationError: one of ``things`` is neither, or there is none.
        """
        tags = _to_drop(things, where="invalidate_tags")
        await run_async(self._core.invalidation.drop(self._via("async"), keys=set(), tags=tags))

    def invalidate_tags_sync(self, *things: object) -> None:
        """:meth:`invalidate_tags` for synchronous code."""
        tags = _to_drop(things, where="invalidate_tags_sync")
        run(self._core.invalidation.drop(self._via("sync"), keys=set(), tags=tags))

    async def clear(self) -> None:
        """Drop every result of this cache, on every server. One command, however many there are.

        It is for operators, after the data were changed behind the application's back: the next calls all run
        their functions.

        Raises:
            BackendError: the back end could not be told. It will be, as soon as it can.
        """
        await run_async(self._clear("async"))

    def clear_sync(self) -> None:
        """:meth:`clear` for synchronous code."""
        run(self._clear("sync"))

    def _clear(self, colour: Colour) -> Steps[None]:
        forget(self._core)
        yield from self._core.invalidation.drop(self._via(colour), keys=set(), tags={EVERYTHING})

    def isolated(self, backend: Backend | None = None) -> Block:
        """A namespace of its own: ``with cache.isolated():`` or ``async with``, for a test.

        Inside, this process begins with an empty cache, and what it stores or drops stays in the block. It
        needs no server: results are kept in memory, written and read back as they are for any back end.

        Args:
            backend: where they are kept instead.

        The block is for the whole process, threads and all.
        """
        return Block(lambda: isolated(self._core, self._backend, backend or MemoryBackend()))

    def disabled(self) -> Block:
        """No cache: ``with cache.disabled():`` or ``async with``. Functions run at each call.

        What is stored stays, and invalidations reach it. The block is for the whole process.
        """
        return Block(lambda: disabled(self._core))

    def watch(self, target: Any, *, unreachable: Unreachable = "commit") -> None:
        """Drop what reads a table whenever a transaction that changed it is committed.

        Sessions with changes of their own do without the cache, wherever a cached function gets them from.

        Args:
            target: a ``sessionmaker``, an ``async_sessionmaker``, a ``scoped_session``, a ``Session`` class
                or a session; an ``Engine`` or ``AsyncEngine`` with all of its connections and the
                sessions on them; or an object with an attribute ``event_target`` that is one of the former,
                as the clusters of ``scalekit.database`` have, of which Core connections are watched as well.
            unreachable: what becomes of a commit that the back end cannot be told of. ``"commit"``, the
                default: it goes on, it is logged, and told as soon as possible; other servers may serve older
                results until then. ``"refuse"``: ``commit()`` raises ``BackendError``, and nothing is
                committed.

        Raises:
            MissingExtra: SQLAlchemy is not installed.
            ConfigurationError: ``target`` is none of these.
            WrongColour: the back end's client cannot be used from it.
        """
        from scalekit.cache.orm import watch

        watch(target, core=self._core, backend=self._backend, unreachable=unreachable)

    def _via(self, colour: Colour) -> Via:
        via = self._vias.get(colour)
        if via is None:
            # One for all functions, so that their lookups can travel together.
            entries = self._backend.using(colour)
            via = Via(entries, self._core.runtimes[colour], distant=not self._backend.local)
            self._vias[colour] = via
        return via

    def _via_for(self, this: Decorated, name: str) -> Via:
        colour: Colour = "async" if this.is_async else "sync"
        definition = "an async def" if colour == "async" else "a plain def"
        in_colour(self._backend, colour, taker=f"{name}, {definition},")
        return self._via(colour)

    def stats(self) -> Stats:
        """What was counted since this cache was made, in this process."""
        return self._counter.snapshot()

    def on(self, hook: Hook) -> Callable[[], None]:
        """Call ``hook(name, number)`` whenever a count goes up, for metrics.

        Args:
            hook: called where it is counted, in that thread or event loop, so it must be quick. ``name`` is
                one of the fields of :class:`Stats`. ``local_hits`` are not told, for these take less time
                than a call: read them from :meth:`stats`. What it raises first is logged.

        Returns:
            A function that takes the hook away.

        Raises:
            ConfigurationError: it is no function of two arguments.
        """
        return self._counter.on(hook)

    async def close(self) -> None:
        """End what is computed in the background, hear no more, and release the back end's connections.

        An event loop that ends does what concerns it by itself. The cache may be used again after.
        """
        await run_async(self._closing("async"))

    def close_sync(self) -> None:
        """:meth:`close` for synchronous code: it waits for what is being computed, 5 seconds at most."""
        run(self._closing("sync"))

    def _closing(self, colour: Colour) -> Steps[None]:
        yield self._core.refreshes.close(colour)
        if colour == "async":
            yield self._core.invalidation.bumps.end()
        entries = self._backend.using(colour)
        if self._core.listener is not None:
            yield self._core.listener.stop()
        yield entries.close()


def _check_called(name: object, cache_if: object = None) -> None:
    if name is not None:
        check_text(name, option="name=", wanted="the function's name in the keys, as text")
    if cache_if is not None:
        check_function(cache_if, option="cache_if=", wanted="a function of the result, such as bool")
        if iscoroutinefunction(cache_if) or iscoroutinefunction(getattr(cache_if, "__call__", None)):  # noqa: B004
            raise ConfigurationError(
                "cache_if= must be a plain function of the result, no async def: a coroutine is always true"
            )


def _to_drop(things: tuple[object, ...], *, where: str) -> set[str]:
    if not things:
        raise ConfigurationError(
            f"{where}() without a tag or table drops nothing; name what changed, or drop all with clear()"
        )
    return set(tags_of(*things, where=where))


def _all_tags(reads: Iterable[object], tags: Iterable[str]) -> tuple[str, ...]:
    tables = tags_of(*check_items(reads, option="reads="), where="reads=")
    names = tags_of(*check_items(tags, option="tags="), where="tags=")
    found = tuple(sorted({*tables, *names}))
    if len(found) > MAX_TAGS:
        raise ConfigurationError(f"{len(found)} tags; a result has at most {MAX_TAGS}")
    return found
