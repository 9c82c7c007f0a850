"""How many processes there are to be: target tracking on requests in flight per process.

Rules:

* As many as keep the requests in flight per process at the target, within the bounds.
* Up at once, but no more than `step` start at a time: they take processor time from those that serve.
* Down one at a time, and only when fewer would have done for the whole of `patience`.
"""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Target:
    """Args:
    in_flight: requests in flight per process that are right.
    least, most: bounds of the number of processes.
    step: processes that start at a time.
    patience: seconds for which fewer must do before one goes.
    """

    in_flight: float = 2.0
    least: int = 3
    most: int = 8
    step: int = 2
    patience: float = 15.0


@dataclass
class Autoscaler:
    """Decides; it starts and stops nothing, and has no clock of its own."""

    target: Target = field(default_factory=Target)
    _too_many_since: float | None = None

    def decide(self, now: float, *, serving: int, starting: int, in_flight: float) -> int:
        """How many there should be.

        Args:
            now: seconds, of a clock that never goes back.
            serving: processes that serve.
            starting: processes that will as soon as they are up.
            in_flight: requests in flight, over all of them.
        """
        target, running = self.target, serving + starting
        wanted = min(max(math.ceil(in_flight / target.in_flight), target.least), target.most)
        if wanted >= running:
            self._too_many_since = None
            return min(wanted, max(serving + target.step, running, target.least))
        if self._too_many_since is None:
            self._too_many_since = now
        if now - self._too_many_since < target.patience:
            return running
        self._too_many_since = now  # the next one after as long
        return running - 1
