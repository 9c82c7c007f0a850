"""Middleware in the wrong order. Pure: from the classes of an application's layers, the outermost first.

Each rule names what belongs outside, what belongs inside of it, and what happens otherwise.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from scalekit.ops.doctor.findings import Finding, Severity, finding

_COMPRESSING = frozenset(
    {
        "starlette.middleware.gzip.GZipMiddleware",
        "brotli_asgi.BrotliMiddleware",
        "starlette_compress.CompressMiddleware",
        "django.middleware.gzip.GZipMiddleware",
    }
)
_REWRITING = frozenset({"scalekit.cdn.asgi.AssetMiddleware", "scalekit.cdn.wsgi.AssetMiddleware"})
POLICY = frozenset(
    {"scalekit.cdn._asgi_policy.PolicyMiddleware", "scalekit.cdn._wsgi_policy.PolicyMiddleware"}
)
SHIELD = frozenset(
    {"scalekit.cdn._asgi_shield.ShieldMiddleware", "scalekit.cdn._wsgi_shield.ShieldMiddleware"}
)
OPS = frozenset({"scalekit.ops._asgi_ops.OpsMiddleware", "scalekit.ops._wsgi_ops.OpsMiddleware"})
SESSIONS = frozenset(
    {
        "scalekit.sessions.asgi.SessionMiddleware",
        "scalekit.sessions.wsgi.SessionMiddleware",
        "starlette.middleware.sessions.SessionMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "starsessions.middleware.SessionMiddleware",
    }
)
_VISITS = frozenset(
    {
        "scalekit.database.asgi.ReadYourWritesMiddleware",
        "scalekit.database.wsgi.ReadYourWritesMiddleware",
    }
)
_PAGES = frozenset({"scalekit.cache.asgi.ResponseMiddleware", "scalekit.cache.wsgi.ResponseMiddleware"})
_REFUSING = frozenset(
    {
        "starlette.middleware.httpsredirect.HTTPSRedirectMiddleware",
        "starlette.middleware.trustedhost.TrustedHostMiddleware",
    }
)
_SHEDDING = frozenset(
    {"scalekit.ops._asgi_shed.SheddingMiddleware", "scalekit.ops._wsgi_shed.SheddingMiddleware"}
)
_WORKING = _COMPRESSING | _REWRITING | POLICY | SESSIONS | _VISITS | _PAGES


class Layer(NamedTuple):
    """A middleware: what it is called, and the dotted names of its class and those above it."""

    name: str
    kinds: frozenset[str]


class _Rule(NamedTuple):
    outer: frozenset[str]
    inner: frozenset[str]
    code: str
    what: str
    severity: Severity | None = None


_RULES = (
    _Rule(
        _COMPRESSING,
        _REWRITING,
        "order-compression",
        "{outer} is inside {inner}, which takes the compression off each page and puts it on again",
    ),
    _Rule(
        POLICY,
        SESSIONS | _VISITS,
        "order-policy",
        "{outer} is inside {inner}, and does not see the cookies that this sets: a cache may keep them",
    ),
    _Rule(
        SESSIONS,
        _PAGES,
        "order-pages",
        "{outer} is inside {inner}, which does not see whether a page is one visitor's",
    ),
    _Rule(
        OPS,
        _REFUSING,
        "order-probes",
        "{outer} is inside {inner}, which may answer a probe itself, without the host or the scheme it wants",
        "error",
    ),
    _Rule(OPS, _WORKING, "order-probes", "{outer} is inside {inner}, so that probes depend on it"),
    _Rule(
        _SHEDDING,
        _WORKING,
        "order-shedding",
        "{outer} is inside {inner}, which works for those it turns away",
    ),
    _Rule(SHIELD, _WORKING, "order-shield", "{outer} is inside {inner}, which works for anybody"),
)


def judge(layers: Sequence[Layer], *, where: str) -> Iterator[Finding]:
    """What is in the wrong order: for each pair of classes once."""
    for rule in _RULES:
        for index, layer in enumerate(layers):
            if layer.kinds.isdisjoint(rule.outer):
                continue
            outside = next((one for one in layers[:index] if not one.kinds.isdisjoint(rule.inner)), None)
            if outside is not None:
                yield finding(
                    rule.code,
                    what=rule.what.format(outer=layer.name, inner=outside.name),
                    cure=f"put {layer.name} around {outside.name}: with add_middleware() add it later, in "
                    "MIDDLEWARE name it earlier",
                    where=where,
                    severity=rule.severity,
                )
                break
    making = [_with_owner(layer) for layer in layers if not layer.kinds.isdisjoint(SESSIONS)]
    if len(making) > 1:
        yield finding(
            "sessions-twice",
            what=f"{' and '.join(making)} both make a session, and the inner one hides the other",
            cure="keep one of them; to change over, give it migrate=[...]",
            where=where,
        )


def _with_owner(layer: Layer) -> str:
    # Most of them are called SessionMiddleware.
    return f"{layer.name} of {min(layer.kinds & SESSIONS).partition('.')[0]}"


def has(layers: Sequence[Layer], kinds: frozenset[str]) -> bool:
    """Whether one of the layers is of these classes."""
    return any(not layer.kinds.isdisjoint(kinds) for layer in layers)
