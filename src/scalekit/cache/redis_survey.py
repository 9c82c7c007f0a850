"""What a cache has in Redis, by function: for people who look into it. See :mod:`.redis` for the keys."""

from collections.abc import Callable
from dataclasses import dataclass, field

from scalekit._redis.scan import Batch, Scanned, scan
from scalekit._steps import Steps
from scalekit.cache.redis import RedisBackend
from scalekit.types import Colour


@dataclass(slots=True)
class Held:
    """How many keys, and the bytes that they take in Redis; ``None`` where it does not tell."""

    entries: int = 0
    bytes: int | None = 0

    def add(self, size: int | None) -> None:
        self.entries += 1
        self.bytes = None if size is None or self.bytes is None else self.bytes + size


@dataclass(slots=True)
class Survey:
    """What was found.

    Args:
        functions: by name, results and the leases of those that are being computed.
        tags: the records of tables and tags.
        keys: how many there are in Redis, of any name.
        looked_at: how many of these were gone through; where it is less, there is more than was found.
    """

    functions: dict[str, Held] = field(default_factory=dict)
    tags: Held = field(default_factory=Held)
    keys: int = 0
    looked_at: int = 0

    @property
    def results(self) -> Held:
        """Of all functions together."""
        sizes = [held.bytes for held in self.functions.values()]
        known = [size for size in sizes if size is not None]
        total = sum(known) if len(known) == len(sizes) else None
        return Held(sum(held.entries for held in self.functions.values()), total)


def survey(
    backend: RedisBackend,
    colour: Colour,
    *,
    at_most: int = 100_000,
    on_progress: Callable[[Survey], None] = lambda survey: None,
) -> Steps[Survey]:
    """Go through the keys of a cache. Reads only.

    Args:
        at_most: keys to go through, other programs' included; of a Cluster on each master as many.
        on_progress: called after each few hundred.

    Raises:
        BackendUnavailable: Redis cannot be reached, or refuses.
    """
    found, start = Survey(), len(backend._prefix)

    def count(batch: Batch, now: Scanned) -> None:
        for key, size in batch:
            own = key[start:].decode("utf-8", "replace")
            if own.startswith("t:"):
                found.tags.add(size)
            elif name := own.rpartition(":")[0]:  # else it is the cache's own, and there is one of it
                found.functions.setdefault(name, Held()).add(size)
        found.keys, found.looked_at = now.keys, now.looked_at
        on_progress(found)

    yield from scan(backend._link, colour, prefix=backend._prefix, at_most=at_most, batch=count)
    return found
