"""The counters of several processes, dead ones included, as one."""

from collections.abc import Iterable
from typing import Any

_COUNTS = ("local_hits", "hits", "misses", "computes", "waits", "invalidations", "errors")

NOTHING_READ = {"reads": 0, "replica_reads": 0, "commits": 0}


def merged_cache(stats: Iterable[dict[str, Any]]) -> dict[str, float]:
    total = dict.fromkeys(_COUNTS, 0)
    for one in stats:
        for name in _COUNTS:
            total[name] += one["cache"][name]
    found = total["local_hits"] + total["hits"]
    calls = found + total["misses"]
    return total | {"hit_rate": found / calls if calls else 0.0}


def merged_databases(stats: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Name to reads, reads from it while it was a replica, and commits."""
    total: dict[str, dict[str, int]] = {}
    for one in stats:
        for member in one["databases"]:
            counts = total.setdefault(member["name"], dict(NOTHING_READ))
            for name in NOTHING_READ:
                counts[name] += member[name]
    return total
