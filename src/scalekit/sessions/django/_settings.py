"""What Django's settings say of our sessions: the store, the keys, the times and the types."""

import functools
from collections.abc import Mapping
from typing import Any

from django.conf import settings  # type: ignore[import-untyped]
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

from scalekit._durations import Duration, seconds
from scalekit._options import check_items, check_kind
from scalekit._signing import key_ring
from scalekit.errors import ConfigurationError
from scalekit.sessions._core import DAY, STORE, Storeless
from scalekit.sessions._sparing import SparingLog
from scalekit.sessions.codec import Codec
from scalekit.sessions.store import BoundStore, Store
from scalekit.sessions.tokens import Tokens
from scalekit.types import Colour

DEFAULT_STORE = "redis://localhost:6379/0"
TYPES = "SCALEKIT_SESSION_TYPES="


def _store_at(url: str) -> Store:
    # Each is imported when it is wanted: the other's extra may not be there.
    if url.startswith(("memcached://", "memcacheds://")):
        from scalekit.sessions.memcached import MemcachedStore

        return MemcachedStore.from_url(url)
    from scalekit.sessions.redis import RedisStore

    return RedisStore.from_url(url)


def _class_at(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError as error:
        raise ConfigurationError(
            f"SCALEKIT_SESSION_TYPES has {path!r:.100}, which cannot be imported: {error}; give classes, "
            "or their dotted paths, such as 'shop.values.Address'"
        ) from error


class Configuration:
    """What all sessions of one configuration share."""

    def __init__(
        self,
        store: Store | str,
        keys: tuple[str, ...],
        lifetime: Duration,
        types: tuple[Any, ...] = (),
        names: tuple[str, ...] | None = None,
    ) -> None:
        if isinstance(store, str):
            store = _store_at(store)
        check_kind(store, Store, option="SCALEKIT_SESSION_STORE", wanted=f"a URL or {STORE}")
        if isinstance(store, Storeless):
            raise ConfigurationError(
                f"SCALEKIT_SESSION_STORE cannot be a {type(store).__name__}: Django has its own, "
                'SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"'
            )
        self.store = store
        self._bound: dict[Colour, BoundStore] = {}
        for option, given in (("SECRET_KEY_FALLBACKS", keys[-2::-1]), ("SECRET_KEY", keys[-1])):
            if given != ():
                key_ring(given, option=option)
        self.tokens = Tokens(keys)
        self.lifetime = int(seconds(lifetime, name="SCALEKIT_SESSION_LIFETIME", minimum=1) * 1000)
        classes = [_class_at(item) if isinstance(item, str) else item for item in types]
        named = classes if names is None else dict(zip(names, classes, strict=True))
        self.codec = Codec(named, option=TYPES)
        self.log = SparingLog()

    def bound(self, colour: Colour) -> BoundStore:
        """The store in one colour: always the same object, as it remembers what it has seen and said."""
        bound = self._bound.get(colour)
        return self._bound.setdefault(colour, self.store.using(colour)) if bound is None else bound


_make = functools.lru_cache(maxsize=8)(Configuration)


def configuration() -> Configuration:
    """What the settings say now.

    Raises:
        ConfigurationError: one of them is wrong.
    """
    types: Any = getattr(settings, "SCALEKIT_SESSION_TYPES", ())
    named = isinstance(types, Mapping)
    return _make(
        getattr(settings, "SCALEKIT_SESSION_STORE", DEFAULT_STORE),
        (*reversed(settings.SECRET_KEY_FALLBACKS), settings.SECRET_KEY),  # oldest first
        getattr(settings, "SCALEKIT_SESSION_LIFETIME", 30 * DAY),
        check_items(types.values() if named else types, option=TYPES),
        tuple(types) if named else None,
    )


def get_store() -> Store:
    """The store that the settings name, for ``UserSessions(get_store())``.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    return configuration().store
