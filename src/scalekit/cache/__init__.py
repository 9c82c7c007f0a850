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

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

from scalekit._durations import Duration, seconds
from scalekit._options import check_count, check_function, check_kind, in_colour
from scalekit._steps import Steps, run, run_async
from scalekit.cache._core import Core, Via
from scalekit.cache.afresh import Factory
from scalekit.cache.backend import Backend
from scalekit.cache.batch import AsyncBatch, SyncBatch
from scalekit.cache.channel import HasChannel
from scalekit.cache.debts import EVERYTHING
from scalekit.cache.declaring import CacheDecorators
from scalekit.cache.definitions import Definitions
from scalekit.cache.functions import Decorated
from scalekit.cache.listening import Listener, block_of
from scalekit.cache.local import Local
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.namespaces import Block, Switch, disabled, forget, isolated
from scalekit.cache.reported import reported
from scalekit.cache.stats import Counter, Hook, Stats
from scalekit.cache.tags import tags_of
from scalekit.cache.wrappers import AsyncCached, SyncCached
from scalekit.dependencies import Dependency
from scalekit.errors import ConfigurationError
from scalekit.metrics import Metric
from scalekit.types import Colour

__all__ = ["AsyncBatch", "AsyncCached", "Cache", "Stats", "SyncBatch", "SyncCached"]

Unreachable: TypeAlias = Literal["commit", "refuse"]
"""What becomes of a commit that the back end cannot be told of."""


class Cache(CacheDecorators):
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
        ttl_factor: a function of nothing, asked whenever a result is stored: by how much longer than its
            ``ttl`` it is fresh. Of several servers each asks its own, such as ``Switches.cache_factor`` of
            ``scalekit.ops``, which all of them follow. Default: 1.

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
        ttl_factor: Callable[[], float] = lambda: 1.0,
    ) -> None:
        check_function(ttl_factor, option="ttl_factor=", wanted="a function, such as switches.cache_factor")
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
        self._core = core = Core(local=local, counter=self._counter, ttl_factor=ttl_factor)
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

    @property
    def backend(self) -> Backend:
        """The back end that it was given."""
        return self._backend.own

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

    def dependencies(self) -> Iterator[Dependency]:
        """A health check for :mod:`scalekit.ops`: whether the back end answers. Optional, for without it
        functions run. None where results are kept in memory.

        What it finds counts as what a call does: a server whose visitors ask for nothing that is cached while
        the back end is away learns of the outage by it."""

        def ask(colour: Colour) -> object:
            steps = self._core.invalidation.noting(self._backend.using(colour).ping())
            return run(steps) if colour == "sync" else run_async(steps)

        if not self._backend.local:
            yield Dependency("cache", ask, ttl=1.0)  # shorter than an outage that matters, mostly

    def stats(self) -> Stats:
        """What was counted since this cache was made, in this process."""
        return self._counter.snapshot()

    def metrics(self) -> Iterator[Metric]:
        """The same for :mod:`scalekit.metrics`, and how much is in this process's memory."""
        return reported(self._counter.snapshot(), self._core.local)

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


def _to_drop(things: tuple[object, ...], *, where: str) -> set[str]:
    if not things:
        raise ConfigurationError(
            f"{where}() without a tag or table drops nothing; name what changed, or drop all with clear()"
        )
    return set(tags_of(*things, where=where))
