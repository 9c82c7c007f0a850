"""A back end that can be exchanged for a while: results of their own for a test, or none at all.

Rules:

* Everything that a cache does goes through one :class:`Switch`: nothing has to be decorated or watched anew.
* Exchanging it is for the whole process. What is under way meanwhile keeps the lease that it has, which the
  other back end does not know: so it stores nothing there.
* This process's tier, debts and flights belong to what stands behind them: they are put aside with it.
* Blocks may end in any order, as threads' do: what the last one has begun counts, until all have ended.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from scalekit._steps import Steps
from scalekit.cache.backend import Backend, Entries, Lease, Lookup, elsewhere
from scalekit.cache.debts import Debts, Outage
from scalekit.cache.entry import Found
from scalekit.types import Colour

if TYPE_CHECKING:
    from scalekit.cache._core import Core
    from scalekit.cache.listening import Listener


class Switch:
    """A back end that stands for another one.

    Args:
        backend: that one, for the time being.
    """

    def __init__(self, backend: Backend) -> None:
        self.own, self.local = backend, backend.local
        self._entries: dict[Colour, _Switched] = {}
        self._behind = backend
        self.layers: list[_Layer] = []
        """What stood behind at first, and what each open block has begun; none without a block."""

    def using(self, colour: Colour) -> Entries:
        entries = self._entries.get(colour)
        if entries is None:
            entries = self._entries.setdefault(colour, _Switched(self._behind.using(colour)))
        return entries

    def stand_for(self, backend: Backend) -> None:
        """Stand for ``backend`` from now on."""
        for colour, entries in self._entries.items():
            entries.stand_for(backend.using(colour))
        self._behind = backend


class _Switched:
    """The entries of whatever back end stands behind."""

    def __init__(self, behind: Entries) -> None:
        self.stand_for(behind)

    def stand_for(self, behind: Entries) -> None:
        self.behind, self.limit = behind, behind.limit

    def read(self, lookups: Sequence[Lookup]) -> Steps[list[Found]]:
        return self.behind.read(lookups)

    def acquire(
        self,
        lookup: Lookup,
        found: Found,
        *,
        ttl: float,
        refresh: bool = False,
        token: bytes | None = None,
    ) -> Steps[Lease | Found | None]:
        return self.behind.acquire(lookup, found, ttl=ttl, refresh=refresh, token=token)

    def renew(self, lease: Lease, *, ttl: float) -> Steps[Lease | None]:
        return self.behind.renew(lease, ttl=ttl)

    def fill(self, lease: Lease, value: bytes, *, ttl: float) -> Steps[bool]:
        return self.behind.fill(lease, value, ttl=ttl)

    def release(self, lease: Lease, *, mark: bytes = b"", ttl: float = 0.0) -> Steps[None]:
        return self.behind.release(lease, mark=mark, ttl=ttl)

    def drop(self, keys: Sequence[str]) -> Steps[None]:
        return self.behind.drop(keys)

    def drop_tags(self, tags: Sequence[str]) -> Steps[None]:
        return self.behind.drop_tags(tags)

    def mark(self, tags: Sequence[str], writer: bytes, *, ttl: float) -> Steps[None]:
        return self.behind.mark(tags, writer, ttl=ttl)

    def bump(self, tags: Sequence[str], writer: bytes, *, position: str | None = None) -> Steps[None]:
        return self.behind.bump(tags, writer, position=position)

    def renew_generation(self, *, older_than: float | None = None) -> Steps[None]:
        return self.behind.renew_generation(older_than=older_than)

    def ping(self) -> Steps[None]:
        return self.behind.ping()

    @property
    def together(self) -> Any:
        """What the group of a batch looks for; ``None`` if there is none behind."""
        return getattr(self.behind, "together", None)

    def elsewhere(self, lookup: Lookup) -> Collection[str]:
        return elsewhere(self.behind, lookup)

    def close(self) -> Any:
        return self.behind.close()


class Block(AbstractContextManager[None], AbstractAsyncContextManager[None]):
    """``with`` and ``async with``: the same block in both colours, as often as one likes."""

    def __init__(self, block: Callable[[], AbstractContextManager[None]]) -> None:
        self._block = block
        self._entered: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        block = self._block()
        block.__enter__()
        self._entered.append(block)

    def __exit__(self, *error: Any) -> None:
        self._entered.pop().__exit__(*error)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *error: Any) -> None:
        self.__exit__(*error)


_lock = threading.Lock()


class _Layer:
    """A back end, and what this process knows of it."""

    def __init__(
        self, backend: Backend, debts: Debts, outage: Outage, listener: "Listener | None", reported: bool
    ) -> None:
        self.backend, self.debts, self.outage = backend, debts, outage
        self.listener, self.reported = listener, reported

    def put_in_place(self, core: "Core", switch: Switch) -> None:
        switch.stand_for(self.backend)
        core.invalidation.debts, core.invalidation.outage = self.debts, self.outage
        core.listener, core.local.reported = self.listener, self.reported
        forget(core)


@contextmanager
def isolated(core: "Core", switch: Switch, backend: Backend) -> Iterator[None]:
    """``backend`` stands behind ``switch``, and nothing of before is seen."""
    # Nobody else invalidates what is in here, so nobody has to listen for that.
    layer = _Layer(backend, Debts(), Outage(), None, False)
    layers, invalidation = switch.layers, core.invalidation
    with _lock:
        if not layers:
            before = switch.own, invalidation.debts, invalidation.outage, core.listener, core.local.reported
            layers.append(_Layer(*before))
        layers.append(layer)
        layer.put_in_place(core, switch)
    try:
        yield
    finally:
        with _lock:
            layers.remove(layer)
            layers[-1].put_in_place(core, switch)
            if len(layers) == 1:
                layers.clear()


def forget(core: "Core") -> None:
    """Empty this process's tier, let nobody join a computation under way, and forget what has failed."""
    for runtime in core.runtimes.values():
        runtime.flights.detach_all()
    core.local.flush()
    core.refreshes.forget()


@contextmanager
def disabled(core: "Core") -> Iterator[None]:
    """Functions run as without a cache; what is invalidated is."""
    with _lock:
        core.disabled += 1
        core.dirty_count.add_lasting()  # all that the fast path looks at
    try:
        yield
    finally:
        with _lock:
            core.disabled -= 1
            core.dirty_count.add_lasting(-1)
