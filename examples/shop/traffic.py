"""What the load balancer saw: counts, latency, and the last few requests."""

import time
from collections import Counter, deque
from typing import Any

from examples.shop.proxy import Served

_WINDOW = 5.0


class Traffic:
    def __init__(self) -> None:
        self._recent: deque[Served] = deque(maxlen=4_000)
        self._tape: deque[Served] = deque(maxlen=400)
        self.by_server: Counter[str] = Counter()
        self.total = self.failed = self.repeated = 0

    def add(self, served: Served) -> None:
        if served.path == "/favicon.ico":
            return
        self._recent.append(served)
        self._tape.append(served)
        self.total += 1
        self.by_server[served.server] += 1
        self.failed += served.status >= 500
        self.repeated += served.attempts > 1

    def snapshot(self) -> dict[str, Any]:
        """Figures of the last five seconds, and totals."""
        since = time.monotonic() - _WINDOW
        recent = [served for served in self._recent if served.at >= since]
        times = sorted(served.seconds * 1000 for served in recent)
        return {
            "total": self.total,
            "failed": self.failed,
            "repeated": self.repeated,
            "rps": len(recent) / _WINDOW,
            "p50": percentile(times, 0.5),
            "p95": percentile(times, 0.95),
            "p99": percentile(times, 0.99),
            "by_server": {
                name: count / _WINDOW for name, count in Counter(served.server for served in recent).items()
            },
        }

    def tape_since(self, moment: float) -> list[dict[str, Any]]:
        """Requests that ended after `moment`, at most 60 of them."""
        return [
            {
                "server": served.server,
                "method": served.method,
                "path": served.path,
                "status": served.status,
                "ms": round(served.seconds * 1000, 1),
                "attempts": served.attempts,
            }
            for served in list(self._tape)[-60:]
            if served.at > moment
        ]


def percentile(ordered: list[float], part: float) -> float | None:
    """The value below which `part` of the values are; ``None`` of nothing."""
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1) if ordered else None
