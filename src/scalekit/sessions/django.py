"""Sessions for Django: ``SESSION_ENGINE = "scalekit.sessions.django"``.

Django's own session middleware stays, and with it its cookie settings and its times: a session ends
``SESSION_COOKIE_AGE`` (or what ``set_expiry()`` says) after it was last saved. What the engine adds: the
store holds no usable token, a forged cookie costs no access to it, concurrent requests merge key by key, a
nested change is noticed, values keep their types, and no session outlives its lifetime.

Settings:

* ``SCALEKIT_SESSION_STORE``: a store, or a URL for :class:`~scalekit.sessions.redis.RedisStore`; default
  ``"redis://localhost:6379/0"``.
* ``SCALEKIT_SESSION_LIFETIME``: seconds or ``timedelta`` after which a visitor must log in again, however
  active; default 30 days.
"""

import functools
from typing import Any

from django.conf import settings  # type: ignore[import-untyped]
from django.contrib.sessions.backends.base import (  # type: ignore[import-untyped]
    CreateError,
    SessionBase,
    UpdateError,
)

from scalekit._durations import Duration, seconds
from scalekit._options import check_kind
from scalekit._steps import Steps, run, run_async
from scalekit.sessions import codec
from scalekit.sessions._core import DAY, GRACE, MAX_SIZE, STORE
from scalekit.sessions.store import Created, Loaded, Store
from scalekit.sessions.tokens import Tokens, store_id
from scalekit.sessions.values import Delta, check_size, name_of
from scalekit.types import Colour

DEFAULT_STORE = "redis://localhost:6379/0"


class _Engine:
    """What all sessions of one configuration share."""

    def __init__(self, store: Store | str, keys: tuple[str, ...], lifetime: Duration) -> None:
        if isinstance(store, str):
            from scalekit.sessions.redis import RedisStore  # another store needs no redis-py

            store = RedisStore.from_url(store)
        check_kind(store, Store, option="SCALEKIT_SESSION_STORE", wanted=f"a URL or {STORE}")
        self.store = store
        self.tokens = Tokens(keys)
        self.lifetime = int(seconds(lifetime, name="SCALEKIT_SESSION_LIFETIME", minimum=1) * 1000)


_make_engine = functools.lru_cache(maxsize=8)(_Engine)


def _engine() -> _Engine:
    return _make_engine(
        getattr(settings, "SCALEKIT_SESSION_STORE", DEFAULT_STORE),
        (*reversed(settings.SECRET_KEY_FALLBACKS), settings.SECRET_KEY),  # oldest first
        getattr(settings, "SCALEKIT_SESSION_LIFETIME", 30 * DAY),
    )


class SessionStore(SessionBase):  # type: ignore[misc]
    """One session; ``session_key`` is what the cookie holds, a signed token."""

    _session_key: str | None

    def __init__(self, session_key: str | None = None) -> None:
        self._engine = _engine()
        self._fields: dict[bytes, bytes] = {}
        self._ended = False
        super().__init__(session_key)

    @property
    def modified(self) -> bool:
        """Whether there is something to save: set by Django, or a change inside a value."""
        return self._modified or self._changed_inside()

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value

    def load(self) -> dict[str, Any]:
        return run(self._load("sync"))

    async def aload(self) -> dict[str, Any]:
        return await run_async(self._load("async"))

    def exists(self, session_key: str) -> bool:
        return run(self._exists("sync", session_key))

    async def aexists(self, session_key: str) -> bool:
        return await run_async(self._exists("async", session_key))

    def create(self) -> None:
        self._begin()
        self.save(must_create=True)
        self.modified = True

    async def acreate(self) -> None:
        self._begin()
        await self.asave(must_create=True)
        self.modified = True

    def save(self, must_create: bool = False) -> None:
        """Save what differs from the store; raises Django's ``UpdateError`` if the session was ended."""
        if self._is_unsaved():
            return self.create()
        data = self._get_session(no_load=must_create)
        return run(self._save("sync", data, self.get_expiry_age(), must_create))

    async def asave(self, must_create: bool = False) -> None:
        if self._is_unsaved():
            return await self.acreate()
        data = await self._aget_session(no_load=must_create)
        return await run_async(self._save("async", data, await self.aget_expiry_age(), must_create))

    def delete(self, session_key: str | None = None) -> None:
        run(self._delete("sync", session_key))

    async def adelete(self, session_key: str | None = None) -> None:
        await run_async(self._delete("async", session_key))

    @classmethod
    def clear_expired(cls) -> None:
        """Nothing to do: sessions expire by themselves."""

    @classmethod
    async def aclear_expired(cls) -> None:
        """Nothing to do: sessions expire by themselves."""

    def _validate_session_key(self, key: str | None) -> bool:
        return self._token(key) is not None

    def _get_new_session_key(self) -> str:
        return self._engine.tokens.sign(self._engine.tokens.mint())

    def _token(self, key: str | None) -> str | None:
        return self._engine.tokens.verify(key) if key else None

    def _begin(self) -> None:
        self._session_key = self._get_new_session_key()
        self._ended = False

    def _is_unsaved(self) -> bool:
        if self._ended:
            # A log-out or log-in overtook this request: a session of its own would replace the new cookie.
            raise UpdateError
        return self.session_key is None

    def _changed_inside(self) -> bool:
        values: dict[str, Any] = getattr(self, "_session_cache", {})
        return any(
            type(value) not in codec.IMMUTABLE and codec.encode(key, value) != self._fields.get(name_of(key))
            for key, value in values.items()
        )

    def _load(self, colour: Colour) -> Steps[dict[str, Any]]:
        loaded = yield from self._fetch(colour, self.session_key)
        if loaded is None or loaded.ended:
            self._ended = loaded is not None
            self._session_key = None
            return {}
        self._fields = loaded.fields
        keys = {name.decode(errors="replace"): data for name, data in loaded.fields.items()}
        return {key: codec.decode(key, data) for key, data in keys.items()}

    def _exists(self, colour: Colour, key: str) -> Steps[bool]:
        loaded = yield from self._fetch(colour, key)
        return loaded is not None and not loaded.ended

    def _fetch(self, colour: Colour, key: str | None) -> Steps[Loaded | None]:
        token = self._token(key)
        if token is None:
            return None
        idle = self.get_session_cookie_age() * 1000
        # A step that cannot be gained: in Django a session is extended by saving, not by reading.
        loaded: Loaded | None = yield self._engine.store.using(colour).load(
            store_id(token), idle=idle, step=idle + 1
        )
        return loaded

    def _save(self, colour: Colour, data: dict[str, Any], age: int, must_create: bool) -> Steps[None]:
        store, token = self._engine.store.using(colour), self._token(self.session_key)
        fields = {name_of(key): codec.encode(key, value) for key, value in data.items()}
        before = {} if must_create else self._fields
        changed = {name: value for name, value in fields.items() if before.get(name) != value}
        removed = before.keys() - fields.keys()
        check_size(before, Delta(changed, removed), MAX_SIZE)
        id, idle = store_id(token or ""), max(age * 1000, 1)
        if must_create:
            created: Created | None = yield store.create(
                id, fields=fields, user=None, idle=idle, lifetime=self._engine.lifetime
            )
            if created is None:
                raise CreateError
        elif not (yield store.save(id, changed=changed, removed=removed, idle=idle)):
            raise UpdateError
        self._fields = fields

    def _delete(self, colour: Colour, key: str | None) -> Steps[None]:
        token = self._token(key or self.session_key)
        if token is not None:
            yield self._engine.store.using(colour).destroy(store_id(token), grace=GRACE)
