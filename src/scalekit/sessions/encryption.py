"""Sessions whose values nobody can read in the store: ``EncryptedStore(RedisStore.from_url(url), keys=...)``.

Values, user ids and devices are sealed before they reach the store (see ``_sealing``). Rules:

* A sealed value opens in the session, and under the key of the session, that it was written to. Whose a
  session is opens only together with that session. Who can write to the store can therefore end, prolong or
  set back a session, but neither read it, nor make up a value, nor give a session to somebody else.
* What the store still shows: ids (which are hashes), the keys of each session, how long a value is, that a
  value did not change, which sessions belong to one and the same user, and times.
* What cannot be opened is never deleted, and never treated as absent, for then a new session would take its
  place: it is an outage, and ends when the right key is back. The log says so once for each session.
* The store ends a session without any key, but a log-out begins with a session that can be read. The sessions
  of a user are found with the key that each was begun under, so :class:`scalekit.sessions.UserSessions` takes
  this store, with every key that still encrypts a session. What it cannot find, it does not tell.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, NoReturn

from scalekit._options import check_kind
from scalekit._steps import Steps, run, run_async
from scalekit.errors import ConfigurationError, DecryptionFailed
from scalekit.metrics import Measured, Metric
from scalekit.sessions._core import STORE
from scalekit.sessions._sealing import Ring, Unsealed
from scalekit.sessions.store import Answer, BoundStore, Created, Inherited, Loaded, Store, Swapped
from scalekit.types import Colour, SecretKey

_log = logging.getLogger("scalekit.sessions")

_USER = b"user"
_SAID, _UNSAID = b"\1", b"\0"
_ALIAS, _ENDED = b"\1", b"\0"
_TOLD_AT_MOST = 10_000  # ids; afterwards the log may repeat itself


class EncryptedStore:
    """Encrypts what another store keeps.

    Args:
        store: where the sessions live.
        keys: one secret or a key ring, oldest first: every key decrypts, the last one encrypts. Not the one
            that signs the cookies.
        plain: what becomes of values that are not encrypted. ``"refuse"`` (default): they are treated as
            tampered with. To switch encryption on while the application runs, first ``"write"`` on every
            server: they encrypt nothing yet, but read both; then ``"read"``: they encrypt and read both.
            Until it is ``"refuse"`` again, who can write to the store can make up values.

    Raises:
        ConfigurationError: ``store`` is no store, ``keys`` no key ring, or ``plain`` none of the three.
    """

    def __init__(
        self, store: Store, *, keys: SecretKey, plain: Literal["refuse", "read", "write"] = "refuse"
    ) -> None:
        if plain not in ("refuse", "read", "write"):
            raise ConfigurationError(f"plain={plain!r}; use 'refuse', 'read' or 'write'")
        check_kind(store, Store, option="the first argument of EncryptedStore", wanted=STORE)
        self._store = store
        self._ring = Ring(keys, purpose="scalekit.sessions.encryption", option="keys")
        self._plain = plain
        self._told: set[tuple[str, str]] = set()

    def using(self, colour: Colour) -> "BoundEncryptedStore":
        """The store in one colour.

        Raises:
            WrongColour: the store that it wraps has only the other one.
        """
        drive = run if colour == "sync" else run_async
        return BoundEncryptedStore(self, self._store.using(colour), drive)

    def metrics(self) -> Iterable[Metric]:
        """Those of the store that it wraps, see :class:`scalekit.metrics.Measured`."""
        return self._store.metrics() if isinstance(self._store, Measured) else ()

    def _seal(self, data: bytes, context: bytes) -> bytes:
        return data if self._plain == "write" else self._ring.seal(data, context)

    def _owners(self, user: bytes) -> list[bytes]:
        """What ``user`` may be listed as, beginning with what is written now."""
        sealed = self._ring.seal_with_each(user, _USER)
        return {"refuse": sealed, "read": [*sealed, user], "write": [user, *sealed]}[self._plain]

    def _bond(self, id: str, owner: bytes | None, device: bytes | None) -> bytes | None:
        """The device, which also ties the user, who is sealed alike in all sessions, to this session."""
        if self._plain == "write" or (owner is None and device is None):
            return device
        return self._ring.seal(_UNSAID if device is None else _SAID + device, _device(id, owner))

    def _opened(self, id: str, loaded: Loaded) -> Loaded:
        if loaded.ended:
            return self._mark(id, loaded)
        fields, prefix, open = {}, _fields(id), self._ring.open  # this is what a request waits for
        for name, data in loaded.fields.items():
            try:
                fields[name] = open(data, prefix + name)
            except Unsealed:
                fields[name] = self._value(id, name, data)
        user = None if loaded.user is None else self._open(id, loaded.user, _USER, "the user")
        return replace(loaded, fields=fields, user=user, device=self._device(id, loaded, user))

    def _led(self, id: str, successor: str | None, alias: bool) -> str | None:
        """The successor, tied to the id that it follows; or the store could lead one visitor to another's."""
        if successor is None or self._plain == "write":
            return successor
        led = (_ALIAS if alias else _ENDED) + successor.encode()
        return self._ring.seal(led, _successor(id)).hex()

    def _mark(self, id: str, loaded: Loaded) -> Loaded:
        """What has ended, with its successor if that is the one that was said."""
        if loaded.successor is None:
            return loaded
        try:
            led = self._ring.open(bytes.fromhex(loaded.successor), _successor(id))
        except (Unsealed, ValueError) as error:
            why = error.why if isinstance(error, Unsealed) else "plain"
            if why == "key":
                self._fail(id, Unsealed("key", key=getattr(error, "key", "")), "what it went on as")
            return loaded if why == "plain" and self._plain != "refuse" else Loaded(ended=True)
        return replace(loaded, successor=led[1:].decode(), alias=loaded.alias and led[:1] == _ALIAS)

    def _value(self, id: str, name: bytes, sealed: bytes) -> bytes:
        return self._open(id, sealed, _fields(id) + name, f"key {name.decode(errors='backslashreplace')!r}")

    def _device(self, id: str, loaded: Loaded, user: bytes | None) -> bytes | None:
        if loaded.device is None:
            if loaded.user != user:
                self._fail(id, Unsealed("changed"), "the user")
            return None
        bond = self._open(id, loaded.device, _device(id, loaded.user), "the user or device")
        if bond is loaded.device:
            return bond  # plain
        return bond[1:] if bond[:1] == _SAID else None

    def _open(self, id: str, sealed: bytes, context: bytes, what: str) -> bytes:
        try:
            return self._ring.open(sealed, context)
        except Unsealed as unsealed:
            if unsealed.why == "plain" and self._plain != "refuse":
                return sealed
            self._fail(id, unsealed, what)

    def _fail(self, id: str, unsealed: Unsealed, what: str) -> NoReturn:
        # Eight digits find the session for whoever looks into the store, and are of no use for anything else.
        where = f"{what} of session {id[:8]}..."
        if unsealed.why == "key":
            reason = (
                f"{where} was encrypted with key {unsealed.key}, which is not among keys= (there are "
                f"{self._ring.ids}); put that key back, before the others"
            )
        elif unsealed.why == "plain":
            reason = f"{where} is not encrypted; EncryptedStore(..., plain='read') reads what is older"
        else:
            reason = (
                f"{where} was changed or copied there by something else; delete that session in the store"
            )
        if (id, unsealed.why) not in self._told:
            if len(self._told) >= _TOLD_AT_MOST:
                self._told.clear()
            self._told.add((id, unsealed.why))
            _log.error("%s", reason)
        raise DecryptionFailed(reason, backend="EncryptedStore", why=unsealed.why) from None


class BoundEncryptedStore:
    """An :class:`EncryptedStore` in one colour; see :class:`scalekit.sessions.store.BoundStore`."""

    def __init__(self, source: EncryptedStore, store: BoundStore, drive: Callable[[Steps[Any]], Any]) -> None:
        self._source = source
        self._store = store
        self._drive = drive

    def load(self, id: str, *, idle: int, step: int, own: bool = False) -> Answer[Loaded | None]:
        answer: Answer[Loaded | None] = self._drive(self._load(id, idle, step, own))
        return answer

    def save(
        self, id: str, *, changed: Mapping[bytes, bytes], removed: Collection[bytes], idle: int
    ) -> Answer[bool]:
        return self._store.save(id, changed=self._sealed(id, changed), removed=removed, idle=idle)

    def swap(
        self, id: str, name: bytes, *, expected: bytes | None, value: bytes | None, idle: int
    ) -> Answer[Swapped | None]:
        answer: Answer[Swapped | None] = self._drive(self._swap(id, name, expected, value, idle))
        return answer

    def create(
        self,
        id: str,
        *,
        fields: Mapping[bytes, bytes],
        user: bytes | None,
        idle: int,
        lifetime: int,
        inherit: Inherited | None = None,
        device: bytes | None = None,
    ) -> Answer[Created | None]:
        owner = None if user is None else self._source._seal(user, _USER)
        return self._store.create(
            id,
            fields=self._sealed(id, fields),
            user=owner,
            idle=idle,
            lifetime=lifetime,
            inherit=inherit,
            device=self._source._bond(id, owner, device),
        )

    def destroy(
        self,
        id: str,
        *,
        grace: int,
        successor: str | None = None,
        alias: bool = False,
        user: bytes | None = None,
        version: int | None = None,
    ) -> Answer[Loaded | None]:
        answer: Answer[Loaded | None] = self._drive(self._destroy(id, grace, successor, alias, user, version))
        return answer

    def listed(self, user: bytes) -> Answer[list[str]]:
        answer: Answer[list[str]] = self._drive(self._listed(user))
        return answer

    def _load(self, id: str, idle: int, step: int, own: bool) -> Steps[Loaded | None]:
        loaded: Loaded | None = yield self._store.load(id, idle=idle, step=step, own=own)
        return None if loaded is None else self._source._opened(id, loaded)

    def _swap(
        self, id: str, name: bytes, expected: bytes | None, value: bytes | None, idle: int
    ) -> Steps[Swapped | None]:
        context = _fields(id) + name
        stored = None if expected is None else self._source._seal(expected, context)
        sealed = None if value is None else self._source._seal(value, context)
        while True:
            swapped: Swapped | None = yield self._store.swap(
                id, name, expected=stored, value=sealed, idle=idle
            )
            if swapped is None or swapped.done or swapped.found is None:
                return swapped
            found = self._source._value(id, name, swapped.found)
            if found != expected or swapped.found == stored:
                return Swapped(False, found)
            stored = swapped.found  # it is as expected, as an older key has it

    def _destroy(
        self,
        id: str,
        grace: int,
        successor: str | None,
        alias: bool,
        user: bytes | None,
        version: int | None,
    ) -> Steps[Loaded | None]:
        owners = [] if user is None else self._source._owners(user)
        led = self._source._led(id, successor, alias)
        last: Loaded | None = yield self._store.destroy(
            id,
            grace=grace,
            successor=led,
            alias=alias,
            user=owners[0] if owners else None,
            version=version,
        )
        for owner in owners[1:]:
            # Of a dead session nobody knows any more under which key it is listed.
            if last is None or last.ended or last.user == owner:
                yield self._store.destroy(
                    id, grace=grace, successor=led, alias=alias, user=owner, version=version
                )
        if last is None:
            return None
        try:
            return self._source._opened(id, last)
        except DecryptionFailed:
            if successor is not None:
                raise  # what others have saved would not be carried over
            return replace(last, fields={}, user=None, device=None)

    def _listed(self, user: bytes) -> Steps[list[str]]:
        ids: dict[str, None] = {}
        for owner in self._source._owners(user):
            ids.update(dict.fromkeys((yield self._store.listed(owner))))
        return [*ids]

    def _sealed(self, id: str, fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        prefix = _fields(id)
        return {name: self._source._seal(data, prefix + name) for name, data in fields.items()}


# An id has no NUL in it, so no two of these are alike.


def _fields(id: str) -> bytes:
    return b"value\0%s\0" % id.encode()


def _successor(id: str) -> bytes:
    return b"successor\0%s" % id.encode()


def _device(id: str, owner: bytes | None) -> bytes:
    return b"device\0%s\0%s" % (id.encode(), owner or b"")
