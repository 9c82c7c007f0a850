"""What the doctor can find: each kind with how bad it is, in a few words, and where to read on.

The one list of them. The page on the doctor shows it, and a test keeps both the same.
"""

import re
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")
"""The mildest first."""

_PASSWORD = re.compile(r"(?<=://)[^\s'\"]*@")


class Kind(NamedTuple):
    """A kind of finding: ``link`` is a page of the documentation, with its anchor."""

    severity: Severity
    summary: str
    link: str


_DOCTOR = "docs/howto/ops-doctor.md"

KINDS: dict[str, Kind] = {
    # redis.py
    "redis-unreachable": Kind("error", "a Redis does not answer, or answers nothing", f"{_DOCTOR}#redis"),
    "redis-evicts": Kind("error", "sessions are in a Redis that throws keys away", f"{_DOCTOR}#redis"),
    "redis-not-kept": Kind("error", "sessions are in a Redis that forgets at a restart", f"{_DOCTOR}#redis"),
    "redis-alone": Kind("warning", "sessions are in a Redis without a replica", f"{_DOCTOR}#redis"),
    "redis-waits": Kind(
        "error",
        "sessions wait for more replicas than there are; a warning where for all of them",
        "docs/howto/sessions-stores.md#when-redis-is-away",
    ),
    "redis-is-replica": Kind("error", "the Redis is a replica, which takes no writes", f"{_DOCTOR}#redis"),
    "redis-ends-soonest": Kind(
        "warning",
        "the cache's Redis throws away first what ends soonest: marks of commits",
        "docs/howto/cache-guarantees.md#an-outage",
    ),
    # database.py
    "database-unreachable": Kind(
        "error", "a database server does not answer", "docs/howto/database-operations.md#when-servers-die"
    ),
    "database-no-primary": Kind(
        "error",
        "no server of a cluster takes writes",
        "docs/howto/database-operations.md#when-servers-die",
    ),
    "database-left-out": Kind(
        "error",
        "a server is no replica of the primary: it is writable, or of another database",
        "docs/howto/database-operations.md#see-what-it-sees",
    ),
    "database-lag": Kind(
        "warning",
        "a replica lags behind the primary",
        "docs/howto/database-operations.md#see-what-it-sees",
    ),
    "database-connections": Kind(
        "error",
        "the pools of all processes want more connections than a server has",
        f"{_DOCTOR}#connections-of-the-database",
    ),
    # bucket.py
    "bucket-unreachable": Kind("error", "a bucket is not there, or does not answer", f"{_DOCTOR}#buckets"),
    "bucket-abort": Kind(
        "warning",
        "no rule of a bucket aborts uploads that nobody completes",
        "docs/howto/storage-moving.md#what-killed-servers-leave-behind",
    ),
    "bucket-cors": Kind(
        "error",
        "pages may not upload straight to a bucket",
        "docs/howto/storage-direct.md#let-your-pages-in",
    ),
    "bucket-unknown": Kind("note", "the settings of a bucket may not be read", f"{_DOCTOR}#buckets"),
    # assets.py
    "assets-without-hash": Kind(
        "warning", "assets have URLs that stay when they change", "docs/howto/cdn.md#wrap-the-application"
    ),
    "assets-cors": Kind(
        "error",
        "a CDN sends fonts, modules or other files without the header that browsers want",
        "docs/howto/cdn-other-host.md#fonts-modules-and-what-has-crossorigin",
    ),
    "cached-cookie": Kind(
        "error",
        "a page that caches may keep sets a cookie",
        "docs/howto/cdn-policy.md#what-is-never-kept",
    ),
    "site-unreachable": Kind("error", "the site does not answer", f"{_DOCTOR}#the-running-site"),
    "origin-open": Kind(
        "error",
        "the origin answers anybody, not only the CDN",
        "docs/howto/cdn-shield.md#put-it-around-the-application",
    ),
    "origin-unshielded": Kind(
        "warning",
        "a CDN keeps pages, and nothing keeps others from the origin",
        "docs/howto/cdn-shield.md#put-it-around-the-application",
    ),
    # stack.py
    "order-compression": Kind(
        "warning",
        "pages are compressed before they are rewritten",
        "docs/howto/cdn-pages.md#compressed-pages",
    ),
    "order-policy": Kind(
        "error",
        "cookies are set outside of what decides what caches may keep",
        "docs/howto/cdn-policy.md#opt-an-endpoint-in",
    ),
    "order-pages": Kind(
        "error",
        "whole pages are kept outside of the sessions",
        "docs/howto/cache-http.md#any-other-application",
    ),
    "order-probes": Kind(
        "warning",
        "health probes pass through other middleware",
        "docs/howto/ops.md#answer-health-probes",
    ),
    "order-shedding": Kind(
        "warning",
        "requests are worked on before they are turned away",
        "docs/howto/ops-shedding.md#serve-what-you-can-turn-the-rest-away",
    ),
    "order-shield": Kind(
        "warning",
        "requests are worked on before the shield refuses them",
        "docs/howto/cdn-shield.md#put-it-around-the-application",
    ),
    "sessions-twice": Kind(
        "error", "two middlewares make sessions, and hide each other's", f"{_DOCTOR}#middleware"
    ),
    # server.py
    "drain-missing": Kind(
        "warning",
        "nothing answers probes, or finishes requests when a server stops",
        "docs/howto/ops-drain.md#stop-without-losing-a-request",
    ),
    "drain-grace": Kind(
        "error",
        "a drain ends before the slowest request does",
        "docs/howto/ops-drain.md#stop-without-losing-a-request",
    ),
    "drain-signal": Kind(
        "warning",
        "the server stops at its signal, before a drain is over",
        "docs/howto/ops-drain.md#what-works-under-which-server",
    ),
    "drain-killed": Kind(
        "error",
        "a server is killed before its drain is over",
        "docs/howto/ops-drain.md#stop-without-losing-a-request",
    ),
    "keep-alive": Kind(
        "error",
        "the server closes kept connections before the balancer does",
        f"{_DOCTOR}#the-server-and-the-balancer",
    ),
    # process.py and state.py
    "process-sessions": Kind(
        "error",
        "sessions are in the memory, or on the disk, of one server",
        "docs/howto/sessions-stores.md#choose-where-sessions-live",
    ),
    "process-storage": Kind(
        "error", "uploads are in the memory of one process", "docs/howto/storage.md#choose-where-files-go"
    ),
    "process-cache": Kind(
        "warning",
        "a cache is in the memory of one process",
        "docs/howto/cache-memory.md#how-stale-may-they-be",
    ),
    "process-variable": Kind(
        "warning",
        "requests change a variable of one process",
        f"{_DOCTOR}#state-of-one-process",
    ),
    "disk-storage": Kind(
        "warning",
        "uploads are on a disk that other servers do not have",
        "docs/howto/storage.md#choose-where-files-go",
    ),
    "cookie-sessions": Kind(
        "note",
        "sessions are in the cookie: nobody can end them, and of two tabs one loses",
        "docs/howto/sessions-migration.md#move-from-starlettes-or-flasks-own-sessions",
    ),
    "secret-known": Kind(
        "error", "a secret key that others know or guess", f"{_DOCTOR}#secrets-and-debugging"
    ),
    "debug-on": Kind(
        "error", "debugging is on, which shows code to visitors", f"{_DOCTOR}#secrets-and-debugging"
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that loses data or falls over on the day.

    Args:
        code: its kind, one of :data:`KINDS`.
        severity: ``"error"``, ``"warning"`` or ``"note"``.
        what: is wrong.
        cure: what to do.
        link: a page of the documentation.
        where: it was found.
    """

    code: str
    severity: Severity
    what: str
    cure: str
    link: str
    where: str

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def finding(code: str, *, what: str, cure: str, where: str, severity: Severity | None = None) -> Finding:
    """A finding of a kind; ``severity`` only where it is another than the kind's. Passwords are masked."""
    kind = KINDS[code]
    return Finding(
        code=code,
        severity=severity or kind.severity,
        what=masked(what),
        cure=masked(cure),
        link=kind.link,
        where=masked(where),
    )


def masked(text: str) -> str:
    """``text`` without what URLs in it have before an @: what raises errors may quote a password."""
    return _PASSWORD.sub("***@", text)


def worst_first(findings: list[Finding]) -> list[Finding]:
    """In the order to read them in; the same finding of several objects once."""
    return sorted(dict.fromkeys(findings), key=lambda one: (-SEVERITIES.index(one.severity), one.code))
