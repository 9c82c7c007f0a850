"""A store of sessions in Redis in one colour: which script each operation is.

See :mod:`scalekit.sessions.redis` for how sessions are kept.
"""

import hashlib
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from scalekit._redis import Commands, Confirm, ResponseError, Script
from scalekit._steps import Steps
from scalekit.errors import BackendUnavailable, NotReplicated
from scalekit.sessions import redis_replies as replies
from scalekit.sessions import redis_scripts as scripts
from scalekit.sessions._counts import Counts, size
from scalekit.sessions._recent import Recent, Seen
from scalekit.sessions._sparing import SparingLog
from scalekit.sessions.store import Answer, Created, Inherited, Loaded, Swapped

T = TypeVar("T")


class BoundRedisStore:
    """A :class:`RedisStore` in one colour; see :class:`scalekit.sessions.store.BoundStore`."""

    def __init__(
        self,
        commands: Commands,
        name: str,
        prefix: str,
        *,
        cluster: bool,
        confirm: Confirm | None,
        drive: Callable[[Steps[Any]], Any],
        counts: Counts,
    ) -> None:
        self._commands = commands
        self._name = name
        self._prefix = prefix
        self._cluster = cluster
        self._confirm = confirm
        self._drive = drive
        self._counts = counts
        self._log = SparingLog()
        self._recent = Recent()

    def load(self, id: str, *, idle: int, step: int, own: bool = False) -> Answer[Loaded | None]:
        answer: Answer[Loaded | None] = self._drive(
            self._counts.watched("load", self._load(id, idle, step, own))
        )
        return answer

    def save(
        self, id: str, *, changed: Mapping[bytes, bytes], removed: Collection[bytes], idle: int
    ) -> Answer[bool]:
        args = [idle, _version(), len(removed), *removed, *itertools.chain.from_iterable(changed.items())]
        answer: Answer[bool] = self._drive(
            self._counts.watched("save", self._save(id, args), written=size(changed))
        )
        return answer

    def swap(
        self, id: str, name: bytes, *, expected: bytes | None, value: bytes | None, idle: int
    ) -> Answer[Swapped | None]:
        args = [idle, _version(), name, *_optional(expected), *_optional(value)]
        written = size({} if value is None else {name: value})
        answer: Answer[Swapped | None] = self._drive(
            self._counts.watched("swap", self._swap(id, args), written=written)
        )
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
        answer: Answer[Created | None] = self._drive(
            self._counts.watched("create", self._create(id, user, args), written=size(fields))
        )
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
        answer: Answer[Loaded | None] = self._drive(
            self._counts.watched("destroy", self._destroy(id, user, args))
        )
        return answer

    def listed(self, user: bytes) -> Answer[list[str]]:
        answer: Answer[list[str]] = self._drive(self._counts.watched("listed", self._listed(user)))
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
        if isinstance(reply, list) and len(reply) > 2 and reply[-2] == replies.AGE:
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
        self._counts.trip()
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
        loaded = replies.session(reply, id)
        if loaded is not None:
            self._recent.note(id, Seen(seen.moment, loaded, len(reply) // 2))
        return loaded

    def _save(self, id: str, args: list[Any]) -> Steps[bool]:
        reply = yield from self._change(scripts.SAVE, (self._prefix + id,), args)
        self._recent.changed(id)
        return reply is not None and self._made(replies.flag, reply)

    def _swap(self, id: str, args: list[Any]) -> Steps[Swapped | None]:
        reply = yield from self._change(scripts.SWAP, (self._prefix + id,), args)
        self._recent.changed(id)
        return None if reply is None else self._made(replies.swapped, reply)

    def _create(self, id: str, user: bytes | None, args: list[Any]) -> Steps[Created | None]:
        reply = yield from self._change(scripts.CREATE, self._keys(id, user), args)
        if reply is None:
            return None
        created = self._made(replies.created, reply)
        if self._cluster and user is not None:
            yield from self._call(scripts.LIST, (self._index(user),), (id, created.deadline))
        return created

    def _destroy(self, id: str, user: bytes | None, args: list[Any]) -> Steps[Loaded | None]:
        reply = yield from self._change(scripts.DESTROY, self._keys(id, user), args)
        self._recent.forget(id)
        last = None if reply is None else self._read(reply, id)
        over = last is None or last.ended or args[-1] in ("", last.version)
        if self._cluster and user is not None and over:
            # After it: what lives is listed, also if we are killed in between.
            yield from self._call(scripts.STRIKE, (self._index(user),), (id,))
        return last

    def _listed(self, user: bytes) -> Steps[list[str]]:
        ids = yield from self._call(scripts.LISTED, (self._index(user),), ())
        return self._made(replies.valid, ids)

    def _keys(self, id: str, user: bytes | None) -> tuple[str, ...]:
        """The keys of one script: in a Cluster they must be on one node, so it gets the first alone."""
        alone = self._cluster or user is None
        return (self._prefix + id,) if alone else (self._prefix + id, self._index(user or b""))

    def _index(self, user: bytes) -> str:
        # A hash: a name of any length and content makes a key of one length, that tells nobody's name.
        return f"{self._prefix}user:{hashlib.sha256(user).hexdigest()}"

    def _read(self, reply: Any, id: str) -> Loaded | None:
        """What a script gave, as a session or what is left of one; ``None`` if it is neither."""
        loaded = replies.session(reply, id) or replies.mark(reply)
        if loaded is None:
            # Eight digits find the key for whoever looks into it, and are of no use for anything else.
            self._log.log(
                logging.WARNING,
                "what is stored under %s... is no session; the visitor is treated as a new one",
                id[:8],
            )
        return loaded

    def _change(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Steps[Any]:
        """What ``script`` gave, once as many replicas have what it wrote as must."""
        confirm = self._confirm
        if confirm is None:
            return (yield from self._call(script, keys, args))
        reply, count = yield from self._call(script, keys, args, confirm)
        if not isinstance(count, int) or count < confirm.replicas:
            acknowledged = count if isinstance(count, int) else 0
            raise NotReplicated(backend=self._name, wanted=confirm.replicas, acknowledged=acknowledged)
        return reply

    def _call(
        self, script: Script, keys: Sequence[str], args: Sequence[Any], confirm: Confirm | None = None
    ) -> Steps[Any]:
        self._counts.trip()
        try:
            if confirm is not None:
                return (yield self._commands.confirmed(script, keys, args, confirm))
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


def _version() -> int:
    """Another one each time, unlike a count: after a failover that has lost some changes, others count on
    from before them, and a process that has seen the lost ones must not take theirs for those. Not by
    ``random``, which an application may seed: two changes of one version would be one to whoever reads."""
    return secrets.randbits(52)


def _optional(value: bytes | None) -> tuple[str, bytes]:
    return ("0", b"") if value is None else ("1", value)
