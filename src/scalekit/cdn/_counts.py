"""How often something happened, by name."""

from collections import Counter
from threading import Lock

from scalekit._forks import renew_in_children


class Counts:
    """How often the middleware did what; safe to use from several threads.

    ``pages`` and ``urls`` were rewritten; ``encoded`` (in a content coding that cannot be taken off here),
    ``charset`` and ``no-transform`` count HTML pages that passed untouched for that reason; ``errors`` counts
    those that did after a fault in the rewriter, and ``garbled`` those whose bytes were not in the content
    coding that they declared. ``doubtful`` is the number of scripts that were not understood at start-up, and
    are served as they are. ``cdn-errors`` counts pages without a CDN after a fault of the function that
    chooses it, and ``cdn-down`` those without one because a probe says that it is down.
    """

    def __init__(self) -> None:
        self._counter: Counter[str] = Counter()
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        """A thread of the parent may have been at it."""
        self._lock = Lock()

    def add(self, what: str, times: int = 1) -> None:
        with self._lock:
            self._counter[what] += times

    def __getitem__(self, what: str) -> int:
        return self._counter[what]

    def as_dict(self) -> dict[str, int]:
        """All counts so far."""
        with self._lock:
            return dict(self._counter)
