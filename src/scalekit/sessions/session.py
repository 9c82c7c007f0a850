"""The session that the application holds: a mapping, and who it belongs to.

What becomes of it is in :mod:`scalekit.sessions._state`.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Self
from uuid import UUID

from scalekit.errors import SessionValueError
from scalekit.sessions._state import State, Status, Turn
from scalekit.sessions.owner import decode_user, encode_user
from scalekit.sessions.values import Values


class Session(State, MutableMapping[str, Any]):
    """A dictionary of plain data that follows one visitor from request to request.

    Keys are strings. Values are str, int, float, bool, None, bytes, datetime, date, time, timedelta, UUID,
    Decimal, Jinja's Markup, instances of the classes that ``types=`` names, and list, tuple, dict, set and
    frozenset of these; they come back as they were.
    A value changed in place (``session["cart"].append(1)``) is noticed and saved. Concurrent requests merge
    key by key.

    Attributes:
        accessed: whether the application looked at the session.
        persistent: whether the cookie outlives the browser; ``False`` leaves ``Max-Age`` out of it.
    """

    def __getitem__(self, key: str) -> Any:
        self._ready()
        return self._values.get(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._changing()
        self._values.put(key, value)

    def __delitem__(self, key: str) -> None:
        self._changing()
        self._values.drop(key)

    def clear(self) -> None:
        """Remove every value. A session that belongs to somebody ends, as by :meth:`logout`.

        That is how applications log out which know no :meth:`logout`; it must leave nobody logged in.
        """
        self._ready()
        if self._user is not None:
            self.logout()
        else:
            self._changing()
            self._values.clear()

    def __contains__(self, key: object) -> bool:
        self._ready()
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        self._ready()
        return iter(self._values)

    def __len__(self) -> int:
        self._ready()
        return len(self._values)

    def __ior__(self, other: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Self:
        self.update(other)
        return self

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self}

    def copy(self) -> dict[str, Any]:
        """The values as a plain dict; what it holds is shared, as with ``dict.copy()``."""
        return dict(self)

    def __repr__(self) -> str:
        # Neither the id nor the data: reprs end up in logs.
        return f"<{type(self).__name__} {self._status.name.lower()}>"

    @property
    def modified(self) -> bool:
        """Whether there is something to save, deep inside of values too.

        Raises:
            SessionValueError: a value that cannot be stored.
        """
        return self._unsaved()

    @property
    def user_id(self) -> str | int | UUID | None:
        """Who is logged in, as given to :meth:`login`."""
        self._ready()
        return None if self._user is None else decode_user(self._user)

    @property
    def is_new(self) -> bool:
        """Whether the store has no session for this visitor (yet)."""
        self._ready()
        return self._status is not Status.LIVE

    def login(self, user_id: str | int | UUID, *, device: str | None = None) -> None:
        """The visitor has proved to be ``user_id``: the session continues under a new id and deadline.

        The old id ends with the response. What an anonymous visitor has gathered stays; what belonged to
        another user is dropped, also what this request has set before. So is what another request, under
        way with the old id, changes afterwards.

        Args:
            user_id: who it is.
            device: how the session is called where the user's sessions are listed; 200 characters of it are
                kept. Default: the ``User-Agent`` of the request.

        Raises:
            SessionValueError: ``user_id`` is no str, int or UUID, or ``device`` no str.
            SessionCommitted: the response headers have left.
        """
        self._turning("log in")
        user = encode_user(user_id)
        if device is not None and type(device) is not str:
            raise SessionValueError(key="device", reason=f"it is a str, not {type(device).__qualname__}")
        if self._user is not None and self._user != user:
            self._values, self._inherits = Values(codec=self._codec), False
        self._user = user
        self._device = self._called(device)
        self._turn = Turn("login")

    def logout(self) -> None:
        """End the session and everything in it, with the response.

        That holds too if another request of the visitor gives the session a new id meanwhile. What is set
        afterwards (a farewell) goes into a new, anonymous session.
        """
        self._ready()
        if self._status is Status.UNKNOWN:
            self._refuse()  # it would go on in the store
        self._values, self._inherits = Values(codec=self._codec), False
        self._user = self._device = self._minted = None
        self._turn = Turn("logout")

    def rotate(self) -> None:
        """Continue under a new id with the same data and deadline, as one does now and then.

        Nobody is logged out by it, not even who does not get the response: the old id stands for the new one
        until ten seconds after the browser has come with that, and for a day at most. Where the old id must
        be worth nothing at once, as when the visitor gains rights, call :meth:`login`.

        Raises:
            SessionCommitted: the response headers have left.
        """
        self._turning("change the session id")
        if self._turn is None:
            self._turn = Turn("rotate")

    def csrf_token(self) -> str:
        """What a form or a script sends back, to show that the page it comes from was made for this session.

        It costs nothing in the store, except that a visitor without a session is given one. Each call gives
        another text for the same token. It outlives :meth:`rotate`. After :meth:`login` or :meth:`logout`
        earlier ones are worth nothing.

        Raises:
            SessionCommitted: the visitor has no session, and the response headers have left.
        """
        self._ready()
        return self._core.csrf.token(self._next_origin())

    def check_csrf(self, value: object) -> bool:
        """Whether ``value`` came from :meth:`csrf_token` of this session.

        Anything may be asked for, ``None`` and files too: it is ``False``.
        """
        self._ready()
        return self._status is Status.LIVE and self._core.csrf.check(value, self._stored.origin)

    def mark_accessed(self) -> None:
        """Called by Starlette's ``request.session``."""
        self.accessed = True

    def mark_modified(self) -> None:
        """Nothing: changes are noticed. It is there for code written for Starlette's own session."""
        self.accessed = True
