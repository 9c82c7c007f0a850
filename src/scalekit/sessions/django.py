"""Sessions for Django: ``SESSION_ENGINE = "scalekit.sessions.django"``.

Django's own session middleware stays, and with it its cookie settings and its times: a session ends
``SESSION_COOKIE_AGE`` (or what ``set_expiry()`` says) after it was last saved. What the engine adds: the
store holds no usable token, a forged cookie costs no access to it, concurrent requests merge key by key, a
nested change is noticed, values keep their types, and no session outlives its lifetime. Rules:

* ``cycle_key()`` carries over what another request saved meanwhile. If the session has ended by then, it goes
  on only if another request has moved it and it has nobody logged in (a double click on "log in"); otherwise
  Django's ``SessionInterrupted`` is raised, and nothing of it lives on.
* A request with the key of a session that was moved finds nothing, and sends no cookie: Django would delete
  the new one. A change is ``SessionInterrupted``; ``flush()`` ends what the session went on as.

Settings:

* ``SCALEKIT_SESSION_STORE``: a store, or a URL for :class:`~scalekit.sessions.redis.RedisStore` or, with
  ``memcached://``, :class:`~scalekit.sessions.memcached.MemcachedStore`; default ``"redis://localhost:6379/0"``.
* ``SCALEKIT_SESSION_LIFETIME``: seconds or ``timedelta`` after which a visitor must log in again, however
  active; default 30 days.
* ``SCALEKIT_SESSION_TYPES``: classes of your own whose instances sessions may hold, or their dotted paths,
  such as ``["shop.values.Address"]``; see ``types`` of :class:`scalekit.sessions.Options`.
* ``scalekit.sessions.django.UnavailableMiddleware`` in ``MIDDLEWARE``, right before Django's session
  middleware: answers 503 while the store is away, where Django would report an error with each request.
* ``scalekit.sessions.django.Checks`` in ``INSTALLED_APPS``: ``manage.py check``, which also runs before
  ``runserver`` and ``migrate``, tells of a wrong setting. Without it the first request with a session does.
"""

import functools
import itertools
import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TypeVar

from django.apps import AppConfig  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.contrib.auth import SESSION_KEY  # type: ignore[import-untyped]
from django.contrib.sessions.backends.base import (  # type: ignore[import-untyped]
    CreateError,
    SessionBase,
    UpdateError,
)
from django.contrib.sessions.exceptions import SessionInterrupted  # type: ignore[import-untyped]
from django.contrib.sessions.middleware import SessionMiddleware  # type: ignore[import-untyped]
from django.core import checks  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped]
from django.utils.deprecation import MiddlewareMixin  # type: ignore[import-untyped]
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

from scalekit._durations import Duration, seconds
from scalekit._options import check_items, check_kind
from scalekit._signing import key_ring
from scalekit._steps import Steps, run, run_async
from scalekit.errors import BackendError, ConfigurationError, DecryptionFailed
from scalekit.sessions._core import DAY, MAX_SIZE, NEVER, STORE, Storeless
from scalekit.sessions._identity import GRACE, end
from scalekit.sessions._sealed import refuse_sealed
from scalekit.sessions._sparing import SparingLog
from scalekit.sessions.codec import Codec
from scalekit.sessions.decoded import Decoded, Unread
from scalekit.sessions.offers import Offers
from scalekit.sessions.store import Created, Loaded, Store
from scalekit.sessions.tokens import Tokens, store_id
from scalekit.sessions.values import check_size, difference, late, name_of
from scalekit.types import Colour

T = TypeVar("T")

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


class _Engine:
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
        for option, given in (("SECRET_KEY_FALLBACKS", keys[-2::-1]), ("SECRET_KEY", keys[-1])):
            if given != ():
                key_ring(given, option=option)
        self.tokens = Tokens(keys)
        self.lifetime = int(seconds(lifetime, name="SCALEKIT_SESSION_LIFETIME", minimum=1) * 1000)
        classes = [_class_at(item) if isinstance(item, str) else item for item in types]
        named = classes if names is None else dict(zip(names, classes, strict=True))
        self.codec = Codec(named, option=TYPES)
        self.log = SparingLog()


_make_engine = functools.lru_cache(maxsize=8)(_Engine)


def _engine() -> _Engine:
    types: Any = getattr(settings, "SCALEKIT_SESSION_TYPES", ())
    named = isinstance(types, Mapping)
    return _make_engine(
        getattr(settings, "SCALEKIT_SESSION_STORE", DEFAULT_STORE),
        (*reversed(settings.SECRET_KEY_FALLBACKS), settings.SECRET_KEY),  # oldest first
        getattr(settings, "SCALEKIT_SESSION_LIFETIME", 30 * DAY),
        check_items(types.values() if named else types, option=TYPES),
        tuple(types) if named else None,
    )


class SessionStore(SessionBase):  # type: ignore[misc]
    """One session; ``session_key`` is what the cookie holds, a signed token."""

    _fault: BackendError | None = None  # what the store has failed with last

    _session_key: str | None

    def __init__(self, session_key: str | None = None) -> None:
        self._engine = _engine()
        self._codec = self._engine.codec
        self._offers: Offers | None = None
        self._fields: dict[bytes, bytes] = {}
        self._ended = False
        super().__init__(session_key)

    @property
    def modified(self) -> bool:
        """Whether there is something to save: set by Django, or a change inside a value."""
        self._accept()
        return self._modified or self._changed_inside()

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value

    def is_empty(self) -> bool:
        """Whether there is neither a key nor anything to save."""
        self._accept()
        return bool(super().is_empty())

    def clear(self) -> None:
        self._offers = None
        super().clear()

    def load(self) -> MutableMapping[str, Any]:
        return self._run(self._load("sync"))

    async def aload(self) -> MutableMapping[str, Any]:
        return await self._arun(self._load("async"))

    def exists(self, session_key: str) -> bool:
        return self._run(self._exists("sync", session_key))

    async def aexists(self, session_key: str) -> bool:
        return await self._arun(self._exists("async", session_key))

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
        return self._run(self._save("sync", data, self.get_expiry_age(), must_create))

    async def asave(self, must_create: bool = False) -> None:
        if self._is_unsaved():
            return await self.acreate()
        data = await self._aget_session(no_load=must_create)
        return await self._arun(self._save("async", data, await self.aget_expiry_age(), must_create))

    def cycle_key(self) -> None:
        data = self._get_session()
        self._run(self._cycle("sync", data, self.get_expiry_age()))

    async def acycle_key(self) -> None:
        data = await self._aget_session()
        await self._arun(self._cycle("async", data, await self.aget_expiry_age()))

    def delete(self, session_key: str | None = None) -> None:
        self._run(self._delete("sync", session_key))

    async def adelete(self, session_key: str | None = None) -> None:
        await self._arun(self._delete("async", session_key))

    @classmethod
    def clear_expired(cls) -> None:
        """Nothing to do: sessions expire by themselves."""

    @classmethod
    async def aclear_expired(cls) -> None:
        """Nothing to do: sessions expire by themselves."""

    def _run(self, steps: Steps[T]) -> T:
        try:
            return run(steps)
        except BackendError as error:
            self._fault = error
            raise

    async def _arun(self, steps: Steps[T]) -> T:
        try:
            return await run_async(steps)
        except BackendError as error:
            self._fault = error
            raise

    def _validate_session_key(self, key: str | None) -> bool:
        return self._token(key) is not None

    def _get_new_session_key(self) -> str:
        return self._engine.tokens.sign(self._engine.tokens.mint())

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

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
        values: MutableMapping[str, Any] | None = getattr(self, "_session_cache", None)
        if values is None:
            return False
        if any(_key(name) not in values for name in self._fields):
            return True  # adelete_test_cookie() of Django sets no flag
        return any(
            not self._codec.constant(value) and self._encoded(key, value) != self._fields.get(name_of(key))
            for key, value in _known(values).items()
        )

    def _encoded(self, key: str, value: Any) -> bytes:
        """A value as the store has it, if it is what the store has."""
        if type(value) is Unread:
            return value.data
        data, stored = self._codec.encode(key, value), self._fields.get(name_of(key))
        return stored if stored is not None and self._codec.same(key, data, stored) else data

    def _offer(self, key: str, make: Callable[[], Any]) -> Any:
        """The value of ``key``, or a default that becomes it when it is changed in place."""
        self._accept()
        if key in self:
            return self[key]
        name_of(key)
        if self._offers is None:
            self._offers = Offers(self._codec)
        return self._offers.get(key, make)

    def _accept(self) -> None:
        """Take the defaults that were changed for values that were set."""
        for key, value in ({} if self._offers is None else self._offers.take()).items():
            if key not in self:  # what was set meanwhile, stays
                self[key] = value

    def _load(self, colour: Colour) -> Steps[MutableMapping[str, Any]]:
        loaded = yield from self._fetch(colour, self.session_key)
        if loaded is None:
            self._session_key = None
            return {}
        self._ended = loaded.ended
        self._fields = loaded.fields
        return Decoded(self._codec, _by_key(loaded.fields))

    def _exists(self, colour: Colour, key: str) -> Steps[bool]:
        loaded = yield from self._fetch(colour, key)
        return loaded is not None and not loaded.ended

    def _fetch(self, colour: Colour, key: str | None) -> Steps[Loaded | None]:
        token = self._token(key)
        if token is None:
            return None
        id, idle = store_id(token), self.get_session_cookie_age() * 1000
        # In Django a session is extended by saving, not by reading.
        loaded: Loaded | None = yield self._engine.store.using(colour).load(id, idle=idle, step=NEVER)
        if loaded is not None:
            refuse_sealed(id, loaded)
        return loaded

    def _save(
        self, colour: Colour, data: MutableMapping[str, Any], age: int, must_create: bool
    ) -> Steps[None]:
        store, token = self._engine.store.using(colour), self._token(self.session_key)
        self._accept()
        fields = {name_of(key): self._encoded(key, value) for key, value in _known(data).items()}
        before = {} if must_create else self._fields
        delta = difference(before, fields)
        check_size(before, delta, MAX_SIZE)
        id, idle = store_id(token or ""), max(age * 1000, 1)
        if must_create:
            created: Created | None = yield store.create(
                id, fields=fields, user=None, idle=idle, lifetime=self._engine.lifetime
            )
            if created is None:
                raise CreateError
        elif not (yield store.save(id, changed=delta.changed, removed=delta.removed, idle=idle)):
            raise UpdateError
        self._fields = fields

    def _cycle(self, colour: Colour, data: MutableMapping[str, Any], age: int) -> Steps[None]:
        store, old, before = self._engine.store.using(colour), self.session_key, self._fields
        moves = old is not None and not self._ended
        self._begin()
        yield from self._save(colour, data, age, must_create=True)
        self.modified = True
        if not moves:
            return
        left, new = (store_id(self._token(key) or "") for key in (old, self.session_key))
        last: Loaded | None = yield store.destroy(left, grace=GRACE, successor=new)
        if last is None or last.ended:
            if last is None or last.successor is None or SESSION_KEY in data:
                self._session_key, self._ended = old, True
                yield store.destroy(new, grace=0)
                raise SessionInterrupted("The session was ended before it could be given another key.")
            return
        theirs = late(difference(before, self._fields), before, last.fields)
        if theirs:
            yield store.save(new, changed=theirs.changed, removed=theirs.removed, idle=max(age * 1000, 1))
            self._fields = theirs.applied(self._fields)
            changed = _by_key(theirs.changed)
            if isinstance(data, Decoded):
                data.take(changed)
            else:
                data.update(Decoded(self._codec, changed))
            for name in theirs.removed:
                data.pop(_key(name), None)

    def _delete(self, colour: Colour, key: str | None) -> Steps[None]:
        token = self._token(key or self.session_key)
        if token is not None:
            yield from end(self._engine.store.using(colour), store_id(token), user=None)
        if key is None:
            self._ended = False


def _known(values: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """The values of a session without decoding any: Django makes an empty one a dict."""
    return values.known() if isinstance(values, Decoded) else values


def _by_key(fields: Mapping[bytes, bytes]) -> dict[str, bytes]:
    return {_key(name): data for name, data in fields.items()}


def _key(name: bytes) -> str:
    return name.decode(errors="replace")


class UnavailableMiddleware(MiddlewareMixin):  # type: ignore[misc]
    """Answers 503 for an error of the store, and logs that once a minute.

    Django mails the administrators for each error that it makes a 500 of. So this is faster: it takes
    what a view raises, and, right before the session middleware, what that raises when it saves. What some
    other middleware raises has been reported by then; only the answer is replaced.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        # Django gives each middleware the next one wrapped in what makes responses of its errors.
        inner = getattr(get_response, "__wrapped__", None)
        super().__init__(inner if isinstance(inner, SessionMiddleware) else get_response)

    def __call__(self, request: HttpRequest) -> Any:
        try:
            return super().__call__(request)
        except BackendError as error:
            return self._answer(request, error)

    async def __acall__(self, request: HttpRequest) -> HttpResponse:
        try:
            return await super().__acall__(request)
        except BackendError as error:
            return self._answer(request, error)

    def process_exception(self, request: HttpRequest, exception: Exception) -> "HttpResponse | None":
        session = _failed(request, exception)
        return None if session is None else _unavailable(session)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        session = getattr(request, "session", None)
        if response.status_code != 500 or not isinstance(session, SessionStore) or session._fault is None:
            return response
        return _unavailable(session)

    def _answer(self, request: HttpRequest, error: BackendError) -> HttpResponse:
        session = _failed(request, error)
        if session is None:
            raise error  # another piece's outage is not ours to answer
        return _unavailable(session)


def _failed(request: HttpRequest, error: Exception) -> "SessionStore | None":
    """The session of the request, if it has raised ``error``."""
    session = getattr(request, "session", None)
    return session if isinstance(session, SessionStore) and session._fault is error else None


def _unavailable(session: SessionStore) -> HttpResponse:
    error = session._fault
    if not isinstance(error, DecryptionFailed):  # that is told once, where it was found
        session._engine.log.log(
            logging.ERROR, "a session is not available; the request is answered with 503: %s", error
        )
    headers = {"Retry-After": "1", "Cache-Control": "no-store"}
    response: Any = HttpResponse(b"Service Unavailable\n", "text/plain; charset=utf-8", 503, headers=headers)
    response._has_been_logged = True  # or Django mails the administrators for each response of 500 and more
    answer: HttpResponse = response
    return answer


class Checks(AppConfig):  # type: ignore[misc]
    """An application without models, that has Django check the settings. It asks no server."""

    name = "scalekit.sessions"
    label = "scalekit_sessions"

    def ready(self) -> None:
        checks.register(check_settings)


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """What is wrong with the settings."""
    try:
        _engine()
    except ConfigurationError as error:
        return [checks.Error(str(error), id="scalekit.E001")]
    ours, theirs = (
        f"{middleware.__module__}.{middleware.__qualname__}"
        for middleware in (UnavailableMiddleware, SessionMiddleware)
    )
    middlewares = [*settings.MIDDLEWARE]
    if (ours, theirs) in itertools.pairwise(middlewares) or theirs not in middlewares:
        return []
    hint = f"put {ours!r} right before {theirs!r} in MIDDLEWARE"
    return [checks.Warning("an outage of the session store is a 500", hint=hint, id="scalekit.W001")]
