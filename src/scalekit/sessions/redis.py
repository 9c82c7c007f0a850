"""Sessions in Redis or Valkey: standalone, behind Sentinels, or in a Cluster.

A session is one hash. Its fields are the top-level keys of the session, plus metadata under names that begin
with a NUL, which no key of a session may. The sessions of a user are a sorted set of ids by deadline. Each
operation is one script, so it is atomic, one round trip, and by the server's clock; in a Cluster, where a
session and its user's set live on different nodes, ending or beginning one that has a user takes a second.

A hash without a deadline is no session of ours (something else cut or wrote it): it is not loaded, not
saved to, and not changed. What ``destroy`` leaves for a while is such a hash too: with the id of the
successor, or nothing, and if it was rotated what it knew of its own rotation, or nothing.
"""

import hashlib
import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self, TypeVar, Unpack

from scalekit._options import LinkOptions, check_names
from scalekit._redis import Commands, Redis, ResponseError, Script
from scalekit._steps import Steps, run, run_async
from scalekit.errors import BackendUnavailable
from scalekit.sessions import redis_scripts as scripts
from scalekit.sessions._recent import Recent, Seen
from scalekit.sessions._sparing import SparingLog
from scalekit.sessions.store import Answer, Created, Inherited, Loaded, Rotation, Swapped
from scalekit.types import Colour

_META = b"\0"  # what the names of metadata begin with
_DATA = b"\1"  # what is below it is metadata, or the empty name
_CREATED, _DEADLINE, _SEEN, _VERSION = b"\0created", b"\0deadline", b"\0seen", b"\0version"
_USER, _DEVICE, _ORIGIN = b"\0user", b"\0device", b"\0origin"
_ROTATED, _ENDED, _ALIAS = b"\0rotated", b"\0ended", b"\0alias"
_SINCE, _AGE = b"\0since", b"\0age"  # which are not stored


T = TypeVar("T")


class RedisStore:
    """Sessions in Redis.

    Args:
        client: a redis-py client, ``redis.asyncio`` under ASGI, ``redis`` under WSGI. Its settings and
            time-outs are used (five seconds where it has none), and neither its connections nor its retries.
        prefix: what the names of the keys begin with.

    Raises:
        ConfigurationError: ``client`` is no redis-py client.
    """

    def __init__(self, client: Any, *, prefix: str = "session:") -> None:
        self._redis = client if isinstance(client, Redis) else Redis(client)
        self._prefix = prefix

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "session:", **options: Unpack[LinkOptions]) -> Self:
        """A store for either colour; connects when it is first used.

        Args:
            url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``.
            prefix: what the names of the keys begin with.
            options: ``timeout`` (1 s) is how long an answer may take; afterwards the session is unavailable.
                ``connect_timeout`` (0.5 s), ``max_connections`` (32, for threads), ``cooldown`` (1 s).

        Raises:
            ConfigurationError: the URL or an option is wrong. The message does not quote the URL.
        """
        check_names(options, LinkOptions, taker=f"{cls.__name__}.from_url", named=["prefix"])
        return cls(Redis.from_url(url, **options), prefix=prefix)

    def using(self, colour: Colour) -> "BoundRedisStore":
        """The store in one colour.

        Raises:
            WrongColour: the client that was given has the other one.
        """
        drive = run if colour == "sync" else run_async
        commands, name = self._redis.using(colour), self._redis.name
        return BoundRedisStore(commands, name, self._prefix, cluster=self._redis.cluster, drive=drive)


class BoundRedisStore:
    """A :class:`RedisStore` in one colour; see :class:`scalekit.sessions.store.BoundStore`."""

    def __init__(
        self, commands: Commands, name: str, prefix: str, *, cluster: bool, drive: Callable[[Steps[Any]], Any]
    ) -> None:
        self._commands = commands
        self._name = name
        self._prefix = prefix
        self._cluster = cluster
        self._drive = drive
        self._log = SparingLog()
        self._recent = Recent()

    def load(self, id: str, *, idle: int, step: int, own: bool = False) -> Answer[Loaded | None]:
        answer: Answer[Loaded | None] = self._drive(self._load(id, idle, step, own))
        return answer

    def save(
        self, id: str, *, changed: Mapping[bytes, bytes], removed: Collection[bytes], idle: int
    ) -> Answer[bool]:
        args = [idle, _version(), len(removed), *removed, *itertools.chain.from_iterable(changed.items())]
        answer: Answer[bool] = self._drive(self._save(id, args))
        return answer

    def swap(
        self, id: str, name: bytes, *, expected: bytes | None, value: bytes | None, idle: int
    ) -> Answer[Swapped | None]:
        args = [idle, _version(), name, *_optional(expected), *_optional(value)]
        answer: Answer[Swapped | None] = self._drive(self._swap(id, args))
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
        pairs = itertools.chain.from_iterable(fields.items())
        *kept, token = inherit or ("", "", "", b"")
        rotated = b":" + token if inherit else b""
        args = [idle, lifetime, *kept, user or b"", device or b"", id, rotated, _version(), *pairs]
        answer: Answer[Created | None] = self._drive(self._create(id, user, args))
        return answer

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
        args = [grace, successor or "", int(alias), id, "" if version is None else version]
        answer: Answer[Loaded | None] = self._drive(self._destroy(id, user, args))
        return answer

    def listed(self, user: bytes) -> Answer[list[str]]:
        answer: Answer[list[str]] = self._drive(self._listed(user))
        return answer

    def _load(self, id: str, idle: int, step: int, own: bool) -> Steps[Loaded | None]:
        key = self._prefix + id
        seen = self._recent.get(id, within=step) if own else None
        if seen is not None:
            loaded = yield from self._load_again(id, key, seen)
            # By our clock, so not for certain: who has lost its expiry must still end at its deadline.
            if loaded is not None and time.time() * 1000 < loaded.deadline:
                return loaded
            self._recent.forget(id)  # and the script finds out what is there
        asked = time.monotonic()
        reply = yield from self._call(scripts.LOAD, (key,), (idle, step, int(own)))
        if reply is None:
            return None
        age = None
        if isinstance(reply, list) and len(reply) > 2 and reply[-2] == _AGE:
            *reply, _, age = reply
        loaded = self._read(reply, id)
        # Only as its own: what was not heard of must be told when the browser comes with this id.
        if own and age is not None and loaded is not None:
            # The store's clock may have been set back since: what is still to come was not seen yet.
            moment = asked - max(0, self._made(int, age)) / 1000
            self._recent.note(id, Seen(moment, loaded, len(reply) // 2))
        return loaded

    def _load_again(self, id: str, key: str, seen: Seen) -> Steps[Loaded | None]:
        """What was seen a moment ago, so that nothing is due: the hash will do, which costs the server a
        third of what the script does, or the word that it is still the same, which costs least."""
        known = seen.session
        try:
            if known is None:
                reply = yield self._commands.execute("HGETALL", key)
            else:
                tag = (known.deadline, known.version, seen.size)
                reply = yield self._commands.script(scripts.RELOAD, (key,), tag)
        except ResponseError:
            return None
        if reply == scripts.SAME:
            return known
        loaded = _session(reply, id)
        if loaded is not None:
            self._recent.note(id, Seen(seen.moment, loaded, len(reply) // 2))
        return loaded

    def _save(self, id: str, args: list[Any]) -> Steps[bool]:
        reply = yield from self._call(scripts.SAVE, (self._prefix + id,), args)
        self._recent.changed(id)
        return reply is not None and self._made(_flag, reply)

    def _swap(self, id: str, args: list[Any]) -> Steps[Swapped | None]:
        reply = yield from self._call(scripts.SWAP, (self._prefix + id,), args)
        self._recent.changed(id)
        return None if reply is None else self._made(_swapped, reply)

    def _create(self, id: str, user: bytes | None, args: list[Any]) -> Steps[Created | None]:
        reply = yield from self._call(scripts.CREATE, self._keys(id, user), args)
        if reply is None:
            return None
        created = self._made(_created, reply)
        if self._cluster and user is not None:
            yield from self._call(scripts.LIST, (self._index(user),), (id, created.deadline))
        return created

    def _destroy(self, id: str, user: bytes | None, args: list[Any]) -> Steps[Loaded | None]:
        reply = yield from self._call(scripts.DESTROY, self._keys(id, user), args)
        self._recent.forget(id)
        last = None if reply is None else self._read(reply, id)
        over = last is None or last.ended or args[-1] in ("", last.version)
        if self._cluster and user is not None and over:
            # After it: what lives is listed, also if we are killed in between.
            yield from self._call(scripts.STRIKE, (self._index(user),), (id,))
        return last

    def _listed(self, user: bytes) -> Steps[list[str]]:
        ids = yield from self._call(scripts.LISTED, (self._index(user),), ())
        return self._made(_valid, ids)

    def _keys(self, id: str, user: bytes | None) -> tuple[str, ...]:
        """The keys of one script: in a Cluster they must be on one node, so it gets the first alone."""
        alone = self._cluster or user is None
        return (self._prefix + id,) if alone else (self._prefix + id, self._index(user or b""))

    def _index(self, user: bytes) -> str:
        # A hash: a name of any length and content makes a key of one length, that tells nobody's name.
        return f"{self._prefix}user:{hashlib.sha256(user).hexdigest()}"

    def _read(self, reply: Any, id: str) -> Loaded | None:
        """What a script gave, as a session or what is left of one; ``None`` if it is neither."""
        loaded = _session(reply, id) or _mark(reply)
        if loaded is None:
            # Eight digits find the key for whoever looks into it, and are of no use for anything else.
            self._log.log(
                logging.WARNING,
                "what is stored under %s... is no session; the visitor is treated as a new one",
                id[:8],
            )
        return loaded

    def _call(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Steps[Any]:
        try:
            return (yield self._commands.script(script, keys, args))
        except ResponseError as error:
            # Out of memory, no permission, no scripts: it is no use as a store, like one that is away.
            raise BackendUnavailable(f"{self._name} refused: {error}", backend=self._name) from error

    def _made(self, make: Callable[[Any], T], reply: Any) -> T:
        try:
            return make(reply)
        except (TypeError, ValueError, LookupError) as error:
            # No server that ran our script gives it.
            message = f"{self._name} gave a reply of another shape"
            raise BackendUnavailable(message, backend=self._name) from error


_ID = re.compile(rb"[0-9a-f]{64}")


def _version() -> int:
    """Another one each time, unlike a count: after a failover that has lost some changes, others count on
    from before them, and a process that has seen the lost ones must not take theirs for those. Not by
    ``random``, which an application may seed: two changes of one version would be one to whoever reads."""
    return secrets.randbits(52)


def _valid(ids: Any) -> list[str]:
    return [id.decode() for id in ids if _ID.fullmatch(id)]


def _swapped(reply: Any) -> Swapped:
    done, *found = reply
    if not all(isinstance(value, bytes | None) for value in found):
        raise TypeError
    return Swapped(_flag(done), *found)


def _flag(reply: Any) -> bool:
    if not isinstance(reply, int):
        raise TypeError
    return bool(reply)


def _created(reply: Any) -> Created:
    return Created(*map(int, reply))


def _fields(reply: Any) -> dict[bytes, bytes] | None:
    """What HGETALL gave, as a dict; ``None`` if that is no reply to it."""
    if not isinstance(reply, list) or len(reply) % 2 or not _BYTES.issuperset(map(type, reply)):
        return None
    pairs = iter(reply)
    return dict(zip(pairs, pairs, strict=True))


_BYTES = frozenset([bytes])


def _session(reply: Any, id: str) -> Loaded | None:
    """What HGETALL gave, as a session; ``None`` if it is none."""
    fields = _fields(reply)
    if fields is None:
        return None
    created, deadline = _moment(fields.pop(_CREATED, None)), _moment(fields.pop(_DEADLINE, None))
    if created is None or deadline is None:
        return None
    seen, version = _moment(fields.pop(_SEEN, None)), _moment(fields.pop(_VERSION, None))
    user, device, origin = fields.pop(_USER, None), fields.pop(_DEVICE, None), fields.pop(_ORIGIN, None)
    rotation = None
    if fields and min(fields) < _DATA:
        rotation = _rotation(fields.get(_ROTATED), fields.get(_SINCE))
        # A later version may have put something there that is not known here.
        fields = {name: value for name, value in fields.items() if name[:1] != _META}
    return Loaded(
        fields,
        created,
        deadline,
        created if seen is None else seen,
        version or 0,
        user,
        device,
        origin=id if origin is None else origin.decode("ascii", "replace"),
        rotation=rotation,
    )


def _mark(reply: Any) -> Loaded | None:
    """What HGETALL gave, as the mark of a session that has ended; ``None`` if it is none."""
    fields = _fields(reply)
    if fields is None or _ENDED not in fields:
        return None
    successor = fields[_ENDED].decode("ascii", "replace") or None
    alias = fields.get(_ALIAS)
    rotation = _rotation(alias, fields.get(_SINCE))
    return Loaded(ended=True, successor=successor, alias=alias is not None, rotation=rotation)


def _rotation(text: bytes | None, since: bytes | None) -> Rotation | None:
    """What the browser has shown, as the scripts have it; ``None`` if they do not say."""
    age = _moment(since)
    if text is None or age is None:
        return None
    heard, _, rest = text.partition(b":")
    return Rotation(heard == b"1", age, rest.partition(b":")[2])


def _optional(value: bytes | None) -> tuple[str, bytes]:
    return ("0", b"") if value is None else ("1", value)


def _moment(text: bytes | None) -> int | None:
    """A time as we write it; ``None`` for anything else."""
    return int(text) if text is not None and len(text) <= 18 and text.isdigit() else None
