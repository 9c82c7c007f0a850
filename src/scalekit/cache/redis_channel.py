"""The channel of a :class:`~scalekit.cache.redis.RedisBackend`: a stream, read with ``XREAD BLOCK``.

A stream and not pub/sub, whose messages to a connection that has just broken are gone: here a reader goes on
after the last one that it had, and finds out if there is something between. And each wait that ends, with or
without a message, is a sign of life.

What an entry says is described in :mod:`scalekit.cache.redis_scripts`, whose scripts write them.
"""

from collections.abc import Sequence
from typing import Any

from scalekit._redis import Commands, Redis, ResponseError, Script
from scalekit._steps import Steps
from scalekit.cache.channel import Cursor, Heard, Lost, Message, follow
from scalekit.cache.redis_foreign import Own, Told
from scalekit.cache.redis_scripts import SAY
from scalekit.errors import BackendUnavailable
from scalekit.types import Colour

_POSITION = Script(
    SAY
    + """
local function last() return redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1) end
if not last()[1] then say(KEYS[1]) end
return last()
"""
)

LATE = 0.5  # seconds that an answer may be, before the channel counts as lost
CONNECTING = 1.0  # seconds that a connection may take
_COUNT = 100


class RedisChannel:
    """See :class:`~scalekit.cache.channel.Channel`.

    Args:
        link: the way to the back end; a connection of our own beside it waits for messages.
        told: of what is in the stream's place and none.
        block: the most seconds that :meth:`next` is asked to wait.
    """

    def __init__(self, link: Redis, *, told: Told, block: float) -> None:
        colour: Colour = link.colour or "sync"
        # Nobody waits for this one, so it has time: to connect, and for an answer that is late.
        beside = link.beside(
            max_connections=1, timeout=block + LATE, connect_timeout=CONNECTING, cooldown=0.1
        )
        self._commands: Commands = beside.using(colour)
        self._own, self._stream = Own(self._commands, told), told.stream
        self.name, self.colour = link.name, colour
        self.close = self._commands.close

    def position(self) -> Steps[Cursor]:
        last = _entries((yield from self._answer(self._own.script(_POSITION, [self._stream]))))
        if not last:
            raise _malformed()
        id, message = last[0]
        return Cursor(id, message.number)

    def next(self, cursor: Cursor, *, block: float) -> Steps[Heard]:
        wait = max(1, int(block * 1000))  # milliseconds; 0 is for ever
        stream = self._stream
        reply = yield from self._ask("XREAD", "COUNT", _COUNT, "BLOCK", wait, "STREAMS", stream, cursor.id)
        if reply is not None:
            heard = _entries(_of_one_stream(reply))
            return Heard(follow(cursor, heard), [message for _, message in heard], len(heard) < _COUNT)
        # So is a stream silent that was deleted, and one whose clock is behind what it was, after a failover.
        last = _entries((yield from self._ask("XREVRANGE", stream, "+", "-", "COUNT", 1)))
        if not last:
            raise Lost("the stream is gone")
        id, message = last[0]
        if (id, message.number) == cursor:
            return Heard(cursor, (), True)
        if message.number <= cursor.number or _order(id) <= _order(cursor.id):
            raise Lost("the stream is another one, or older than it was")
        return Heard(cursor, (), False)

    def _ask(self, *args: Any) -> Steps[Any]:
        def steps() -> Steps[Any]:
            return (yield self._commands.execute(*args))

        return (yield from self._answer(steps()))

    def _answer(self, steps: Steps[Any]) -> Steps[Any]:
        try:
            return (yield from steps)
        except ResponseError as error:
            raise BackendUnavailable(
                f"{self.name} refused: {error}. Cache(channel=False) does without it", backend=self.name
            ) from error


def _of_one_stream(reply: Any) -> Any:
    match reply:
        case [[bytes(), list(entries)]]:
            return entries
    raise _malformed()


def _entries(reply: Any) -> list[tuple[bytes, Message]]:
    if not isinstance(reply, list):
        raise _malformed()
    return [_entry(entry) for entry in reply]


def _entry(entry: Any) -> tuple[bytes, Message]:
    match entry:
        case [bytes(id), [b"n", bytes(number), *rest]] if number.isdigit() and len(rest) % 2 == 0:
            return id, _message(int(number), rest)
    raise _malformed()


def _message(number: int, fields: Sequence[Any]) -> Message:
    pairs = list(zip(fields[::2], fields[1::2], strict=True))
    try:
        return Message(
            number,
            keys=tuple([value.decode() for name, value in pairs if name == b"k"]),
            tags=tuple([value.decode() for name, value in pairs if name == b"t"]),
            # What a later version has to say, and we do not know, may be anything.
            everything=any(name not in (b"k", b"t") for name, _ in pairs),
        )
    except (AttributeError, UnicodeDecodeError):
        raise _malformed() from None


def _order(id: bytes) -> tuple[int, ...]:
    return tuple(map(int, id.split(b"-")))


def _malformed() -> BackendUnavailable:
    return BackendUnavailable("the cache's stream in Redis has an entry of another shape", backend="redis")
