"""What is wrong with a Redis, for what is kept in it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias

from scalekit.ops.doctor.findings import Finding, finding

if TYPE_CHECKING:
    from scalekit._redis.facts import Facts

Use: TypeAlias = Literal["sessions", "cache"]

STORES: dict[str, tuple[Use, str]] = {
    "scalekit.sessions.redis.RedisStore": ("sessions", "_redis"),
    "scalekit.cache.redis.RedisBackend": ("cache", "_link"),
}
"""What keeps something in Redis: what that is, and the attribute with the way there."""

_MANAGED = "or in the parameter group of a managed one"


def judge(facts: "Facts", *, use: Use, where: str, waits_for: int = 0) -> Iterator[Finding]:
    """What is wrong with one server that has sessions, or a cache. Pure.

    Args:
        waits_for: replicas that must have a change before it counts.
    """
    name = facts.name
    if facts.replica:
        yield finding(
            "redis-is-replica",
            what=f"{name} is a replica: it takes no writes",
            cure="give the URL of the master, or redis+sentinel://, which follows it",
            where=where,
        )
        return
    if use == "cache":
        yield from _of_cache(facts, where)
        return
    if facts.policy not in ("noeviction", ""):
        limited = facts.max_memory > 0
        gone = f", and has thrown away {facts.evicted} keys" if facts.evicted else ""
        what = f"{name} has maxmemory-policy {facts.policy}{gone}: "
        what += "when its memory is full, visitors are logged out"
        yield finding(
            "redis-evicts",
            what=what if limited else f"{what}; no maxmemory is set, so that it has not come to this",
            cure=f"CONFIG SET maxmemory-policy noeviction in {name}, {_MANAGED}; have caches elsewhere",
            where=where,
            severity=None if limited else "warning",
        )
    if not facts.log and facts.snapshots is False:
        copied = " and its replicas copy the empty one" if facts.replicas else ""
        yield finding(
            "redis-not-kept",
            what=f"{name} writes nothing to its disk: when it restarts every session is gone{copied}",
            cure=f"CONFIG SET appendonly yes in {name}, {_MANAGED}; CONFIG REWRITE keeps it",
            where=where,
        )
    if facts.replicas <= waits_for and waits_for:
        now = facts.replicas < waits_for
        when = "no session can be changed" if now else "while one is away no session can be changed"
        yield finding(
            "redis-waits",
            what=f"{name} has {facts.replicas} of the {waits_for} replicas that wait_replicas= names: {when}",
            cure="one replica more than a change waits for, at least",
            where=where,
            severity=None if now else "warning",
        )
    elif not facts.replicas:
        yield finding(
            "redis-alone",
            what=f"{name} has no replica: while it is away nobody is logged in",
            cure="a replica, and Sentinels that put it in place (redis+sentinel://); or a managed one",
            where=where,
        )


def _of_cache(facts: "Facts", where: str) -> Iterator[Finding]:
    if facts.policy == "volatile-ttl":
        yield finding(
            "redis-ends-soonest",
            what=f"{facts.name} has maxmemory-policy volatile-ttl: when its memory is full it throws away "
            "the marks of commits first, and older results may be served",
            cure=f"CONFIG SET maxmemory-policy allkeys-lru in {facts.name}, {_MANAGED}",
            where=where,
        )


def unreachable(name: str, reason: str, *, where: str) -> Finding:
    """A server that did not answer."""
    return finding(
        "redis-unreachable",
        what=f"{name} does not answer: {reason.removeprefix(f'{name}: ')}",
        cure="is the address right, is it up, and does a firewall let this machine in?",
        where=where,
    )
