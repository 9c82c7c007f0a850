"""The engine: one session, as Django's session middleware and views use it. Rules:

* ``cycle_key()`` only notes that the key changes. The save that follows moves the session: see
  :mod:`._identity`. A response that fails saves nothing, and leaves the visitor with the old one.
* A session that holds ``_auth_user_id`` when it is saved belongs to that user, and is listed from then on.
  Whose it is changes only with the key: where the application has not called ``cycle_key()``, the save does.
* A request with the key of a session that was moved finds nothing, and sends no cookie: Django would delete
  the new one. A change is Django's ``UpdateError``.
"""

import functools
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any, TypeVar

from django.contrib.auth import SESSION_KEY  # type: ignore[import-untyped]
from django.contrib.auth.signals import user_logged_in  # type: ignore[import-untyped]
from django.contrib.sessions.backends.base import SessionBase, UpdateError  # type: ignore[import-untyped]
from django.http import HttpRequest  # type: ignore[import-untyped]

from scalekit._steps import Steps, run, run_async
from scalekit.errors import BackendError
from scalekit.sessions._core import MAX_SIZE
from scalekit.sessions._following import NEVER
from scalekit.sessions._sealed import refuse_sealed
from scalekit.sessions.decoded import Decoded, Unread
from scalekit.sessions.django._identity import Left, create, delete, leave
from scalekit.sessions.django._owner import owner_of
from scalekit.sessions.django._settings import configuration
from scalekit.sessions.offers import Offers
from scalekit.sessions.store import Loaded
from scalekit.sessions.tokens import store_id
from scalekit.sessions.values import Delta, check_size, difference, name_of
from scalekit.types import Colour

T = TypeVar("T")


class SessionStore(SessionBase):  # type: ignore[misc]
    """One session; ``session_key`` is what the cookie holds, a signed token.

    Attributes:
        device: what its user may call the session, if it begins with a log-in; default: the ``User-Agent``.
    """

    device: str | None = None

    _fault: BackendError | None = None  # what the store has failed with last

    _session_key: str | None

    def __init__(self, session_key: str | None = None) -> None:
        self._config = configuration()
        self._codec = self._config.codec
        self._offers: Offers | None = None
        self._stored = Loaded()
        self._ended = False
        self._minted = False  # the store does not have the key yet
        self._left: Left | None = None
        _listen()
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
        """Change the key. As in all of Django, what is not saved afterwards is lost."""
        self._get_session()
        self._turn()

    async def acycle_key(self) -> None:
        """See :meth:`cycle_key`."""
        await self._aget_session()
        self._turn()

    def delete(self, session_key: str | None = None) -> None:
        self._run(delete(self, self._config.bound("sync"), session_key))

    async def adelete(self, session_key: str | None = None) -> None:
        await self._arun(delete(self, self._config.bound("async"), session_key))

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
        return self._config.tokens.sign(self._config.tokens.mint())

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

    def _token(self, key: str | None) -> str | None:
        return self._config.tokens.verify(key) if key else None

    def _id_of(self, key: str | None) -> str:
        token = self._token(key)
        return "" if token is None else store_id(token)

    # What UserSessions asks of a session.

    @property
    def _id(self) -> str:
        """What the store knows the session by until it is saved."""
        if self._minted:
            return "" if self._left is None else self._left.id
        return self._id_of(self.session_key)

    def _ready(self) -> None:
        self._get_session()

    def _begin(self) -> None:
        self._session_key = self._get_new_session_key()
        self._minted, self._ended = True, False

    def _turn(self) -> None:
        """Go on under another key, once that is saved."""
        if self.session_key is not None and not self._ended and not self._minted:
            self._left = Left(self.session_key, self._id, self._stored)
        self._begin()
        self.modified = True

    def _is_unsaved(self) -> bool:
        if self.session_key is None:
            return True
        if self._ended:
            # A log-out or log-in overtook this request: a session of its own would replace the new cookie.
            raise UpdateError
        return False

    def _changed_inside(self) -> bool:
        values: MutableMapping[str, Any] | None = getattr(self, "_session_cache", None)
        if values is None:
            return False
        if any(_key(name) not in values for name in self._stored.fields):
            return True  # adelete_test_cookie() of Django sets no flag
        return any(
            not self._codec.constant(value)
            and self._encoded(key, value) != self._stored.fields.get(name_of(key))
            for key, value in _known(values).items()
        )

    def _encoded(self, key: str, value: Any) -> bytes:
        """A value as the store has it, if it is what the store has."""
        if type(value) is Unread:
            return value.data
        data, stored = self._codec.encode(key, value), self._stored.fields.get(name_of(key))
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
        self._stored, self._ended = loaded, loaded.ended
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
        store = self._config.bound(colour)
        loaded: Loaded | None = yield store.load(id, idle=idle, step=NEVER, own=True)
        if loaded is not None:
            refuse_sealed(id, loaded)
        return loaded

    def _save(
        self, colour: Colour, data: MutableMapping[str, Any], age: int, must_create: bool
    ) -> Steps[None]:
        store, idle = self._config.bound(colour), max(age * 1000, 1)
        self._accept()
        fields = {name_of(key): self._encoded(key, value) for key, value in _known(data).items()}
        user = owner_of(data.get(SESSION_KEY))
        if user != self._stored.user and not (must_create or self._minted):
            self._turn()
        if must_create or self._minted:
            yield from create(self, store, fields, user, idle)
        else:
            delta = difference(self._stored.fields, fields)
            check_size(self._stored.fields, delta, MAX_SIZE)
            if not (yield store.save(self._id, changed=delta.changed, removed=delta.removed, idle=idle)):
                raise UpdateError
            self._stored = replace(self._stored, fields=fields)
        if self._left is not None:
            self._take(data, (yield from leave(self, store, self._left, idle)))

    def _take(self, data: MutableMapping[str, Any], theirs: Delta) -> None:
        """Have the values as others have changed them."""
        changed = _by_key(theirs.changed)
        if isinstance(data, Decoded):
            data.take(changed)
        else:
            data.update(Decoded(self._codec, changed))
        for name in theirs.removed:
            data.pop(_key(name), None)


@functools.cache
def _listen() -> None:
    """Have Django tell of log-ins: once, and not when this is imported."""
    user_logged_in.connect(_logged_in, dispatch_uid=__name__)


def _logged_in(*, request: "HttpRequest | None", **_: Any) -> None:
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore) and session.device is None and request is not None:
        session.device = request.META.get("HTTP_USER_AGENT")


def _known(values: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """The values of a session without decoding any: Django makes an empty one a dict."""
    return values.known() if isinstance(values, Decoded) else values


def _by_key(fields: Mapping[bytes, bytes]) -> dict[str, bytes]:
    return {_key(name): data for name, data in fields.items()}


def _key(name: bytes) -> str:
    return name.decode(errors="replace")
