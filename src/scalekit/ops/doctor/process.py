"""State that one process has to itself, and keys that others know. Pure."""

import re
from collections.abc import Iterator
from typing import Any

from scalekit.ops.doctor.findings import Finding, finding
from scalekit.ops.doctor.walk import is_a

_LEAST = 16
"""Characters of a secret key; fewer can be tried out."""
_GUESSES = re.compile(
    r"(?:the |my |a |your |our )?(?:super|very|top|dev)?[ _-]*"
    r"(?:secret|key|change|changeme|insecure|password|dev|test|example|todo|replace)"
    r"(?:[ _-]*(?:me|this|it|key|secret|string|please|here|in|production|123\d*|!+))*",
    re.IGNORECASE,
)
_DRAW = 'python -c "import secrets; print(secrets.token_urlsafe(32))" makes one; keep it out of the code'


def judge(thing: Any, *, where: str) -> Iterator[Finding]:
    """What is wrong with one object of an application, by its class."""
    if is_a(thing, "scalekit.sessions.memory.MemoryStore"):
        yield local_sessions("a MemoryStore", where=where)
    elif is_a(thing, *_OTHER_SESSIONS):
        yield local_sessions(f"a {type(thing).__name__}", where=where)
    elif is_a(thing, "scalekit.storage.memory.MemoryStorage"):
        yield finding(
            "process-storage",
            what="a MemoryStorage holds uploads: other servers answer 404 for them, and a restart loses them",
            cure="an S3Storage, or a FileStorage on a file system that all servers mount",
            where=where,
        )
    elif is_a(thing, "scalekit.cache.memory.MemoryBackend", *_OTHER_CACHES):
        yield finding(
            "process-cache",
            what=f"a {type(thing).__name__} holds results: what one server invalidates others go on serving",
            cure="a RedisBackend, or a MemcachedBackend; local_entries=N keeps the speed of memory",
            where=where,
        )
    elif is_a(thing, "starlette.middleware.sessions.SessionMiddleware"):
        yield finding(
            "cookie-sessions",
            what="Starlette's SessionMiddleware keeps sessions in the cookie: nobody can end one that was "
            "stolen, and of two requests at once the later answer wins",
            cure="SessionMiddleware of scalekit.sessions.asgi; migrate= keeps visitors logged in",
            where=where,
        )
        signer = getattr(thing, "signer", None)
        yield from _secrets(getattr(signer, "secret_keys", ()), where)
    elif is_a(thing, "flask.app.Flask"):
        secret = thing.config.get("SECRET_KEY")
        yield from _secrets([] if secret is None else [secret], where)
        if thing.config.get("DEBUG"):
            yield debugging("Flask's DEBUG", where=where)
    elif is_a(thing, "starlette.applications.Starlette") and thing.debug:
        yield debugging(f"{type(thing).__name__}(debug=True)", where=where)


_OTHER_SESSIONS = (
    "starsessions.stores.memory.InMemoryStore",
    "flask_session.filesystem.filesystem.FileSystemSessionInterface",
    "flask_session.cachelib.cachelib.CacheLibSessionInterface",
)
_OTHER_CACHES = ("cachelib.simple.SimpleCache", "fastapi_cache.backends.inmemory.InMemoryBackend")


def local_sessions(what: str, *, where: str, cure: str = "a RedisStore, or a MemcachedStore") -> Finding:
    """Sessions that one server has to itself."""
    return finding(
        "process-sessions",
        what=f"{what} holds sessions: who comes to another server is logged out, and so is everybody at a "
        "restart",
        cure=cure,
        where=where,
    )


def _secrets(given: Any, where: str) -> Iterator[Finding]:
    for secret in given:
        reason = weak(secret.decode("utf-8", "replace") if isinstance(secret, bytes) else str(secret))
        if reason is not None:
            yield known_secret(reason, where=where)
            return


def known_secret(reason: str, *, where: str) -> Finding:
    """A secret key that is none, and why."""
    return finding(
        "secret-known",
        what=f"the secret key {reason}: whoever has it logs in as anybody",
        cure=_DRAW,
        where=where,
    )


def weak(secret: str) -> str | None:
    """Why a secret key is none, never with the key in it; ``None`` if nothing is wrong."""
    if secret.startswith("django-insecure-"):
        return "is the one that startproject wrote into the code"
    if _GUESSES.fullmatch(secret.strip()):
        return "is one of those that everybody tries first"
    if len(secret) < _LEAST:
        return f"has {len(secret)} characters, fewer than {_LEAST}"
    if len(set(secret)) < 6:
        return "has fewer than 6 different characters"
    return None


def debugging(what: str, *, where: str) -> Finding:
    """Debugging is on."""
    return finding(
        "debug-on",
        what=f"{what} shows code and settings to whoever meets an error",
        cure="leave it to the machines of developers, by a variable of the environment",
        where=where,
    )
