"""What Django's settings say: sessions, caches, files, debugging, and the order of its middleware."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalekit.ops.doctor import bucket, process, stack
from scalekit.ops.doctor.findings import Finding, finding
from scalekit.ops.doctor.walk import is_a, names_of

_HANDLERS = ("django.core.handlers.base.BaseHandler",)
_LOCAL_CACHES = ("locmem.LocMemCache", "filebased.FileBasedCache")
_HASHING = (
    "django.contrib.staticfiles.storage.HashedFilesMixin",
    "scalekit.cdn.django.storage.AssetStorage",
    "whitenoise.storage.CompressedManifestStaticFilesStorage",
)
_WHERE = "Django's settings"
_ENGINE = 'SESSION_ENGINE = "scalekit.sessions.django", and SCALEKIT_SESSION_STORE = "redis://..."'


def is_django(thing: object) -> bool:
    """Whether it is what ``get_wsgi_application()`` or ``get_asgi_application()`` returns."""
    return is_a(thing, *_HANDLERS)


def layers() -> list[stack.Layer]:
    """The middleware of the settings, the outermost first."""
    from django.conf import settings  # type: ignore[import-untyped]
    from django.utils.module_loading import import_string  # type: ignore[import-untyped]

    found = []
    for path in settings.MIDDLEWARE:
        kind = import_string(path)
        kinds = names_of(kind) if isinstance(kind, type) else frozenset({path})
        found.append(stack.Layer(path.rpartition(".")[2], kinds | {path}))
    return found


def roots() -> list[tuple[str, Any]]:
    """What else an application of Django's is made of: its views, and the store of its sessions."""
    from django.conf import settings
    from django.urls import get_resolver  # type: ignore[import-untyped]

    found: list[tuple[str, Any]] = [("urls", get_resolver().url_patterns)]
    if settings.SESSION_ENGINE == "scalekit.sessions.django":
        from scalekit.sessions.django import get_store

        found.append(("SCALEKIT_SESSION_STORE", get_store()))
    return found


def judge() -> Iterator[Finding]:
    """What is wrong with the settings."""
    from django.conf import settings

    if settings.DEBUG:
        yield process.debugging("DEBUG = True", where=_WHERE)
    reason = process.weak(settings.SECRET_KEY)
    if reason is not None:
        yield process.known_secret(reason, where=_WHERE)
    local = {alias for alias, one in settings.CACHES.items() if one["BACKEND"].endswith(_LOCAL_CACHES)}
    yield from _sessions(settings, local)
    # Django's own default is there in every project, and often nobody uses it.
    for alias in sorted(local) if settings.is_overridden("CACHES") else ():
        yield finding(
            "process-cache",
            what=f"CACHES[{alias!r}] is in one process, or on one disk: what one server deletes others serve",
            cure="django.core.cache.backends.redis.RedisCache",
            where=_WHERE,
        )
    yield from _files(settings)


def _sessions(settings: Any, local: set[str]) -> Iterator[Finding]:
    if not any(path.endswith("sessions.middleware.SessionMiddleware") for path in settings.MIDDLEWARE):
        return
    engine = settings.SESSION_ENGINE
    in_cache = engine == "django.contrib.sessions.backends.cache" and settings.SESSION_CACHE_ALIAS in local
    if in_cache or engine == "django.contrib.sessions.backends.file":
        yield process.local_sessions(f'SESSION_ENGINE = "{engine}"', where=_WHERE, cure=_ENGINE)
    elif engine == "django.contrib.sessions.backends.signed_cookies":
        yield finding(
            "cookie-sessions",
            what="signed_cookies keeps sessions in the cookie: nobody can end one that was stolen, and of "
            "two requests at once the later answer wins",
            cure=_ENGINE,
            where=_WHERE,
        )


def _files(settings: Any) -> Iterator[Finding]:
    from django.core.files.storage import storages  # type: ignore[import-untyped]

    default = storages["default"]
    if settings.MEDIA_ROOT and is_a(default, "django.core.files.storage.filesystem.FileSystemStorage"):
        folder = Path(default.location)
        yield from bucket.judge_disk(
            folder, bucket.file_system(folder), where=f"{_WHERE}, STORAGES['default']"
        )
    if "django.contrib.staticfiles" in settings.INSTALLED_APPS and settings.STATIC_ROOT:
        static = storages["staticfiles"]
        if not is_a(static, *_HASHING):
            yield finding(
                "assets-without-hash",
                what=f"static files have URLs that stay when they change ({type(static).__name__}): browsers "
                "and CDNs show old ones",
                cure="scalekit.cdn.django.AssetStorage as BACKEND of STORAGES['staticfiles']",
                where=_WHERE,
            )
