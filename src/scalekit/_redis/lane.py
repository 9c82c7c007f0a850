"""A lane: one connection of an event loop to a server, and the batch that is on its way over it.

redis-py connects and authenticates; then the lane takes the socket over, as its transport's protocol. A batch
is written when it is sent, and a reply reaches its caller's future in the turn of the loop in which it
arrives, with no task and no stream in between. A server that closes an idle connection is noticed then, too,
and one that says something unasked: what it says next may be no answer either, so the lane is closed.

The time limit begins again with each reply, and with every 64 KiB of a large one.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from redis import exceptions

from scalekit._patience import Alarm
from scalekit._redis.replies import MALFORMED, NOTHING, Arriving, make_replies
from scalekit._redis.topology import Place
from scalekit._redis.wire import Argument, pack

_GONE = "the server has closed the connection"
_UNASKED = "the server says something unasked"


class Call:
    """One command on its way, and the future that its caller awaits.

    ``prelude`` counts the replies that come before the one the caller waits for; ``hops`` the redirections
    that were followed; ``source`` is the text of the script that is called by its digest; ``tail`` a command
    that goes behind it over the same connection: then the caller gets both replies, or the first error.
    Of several in a batch that have the same tail only the last one ``carries`` it, for all of them.
    """

    __slots__ = ("args", "carries", "data", "future", "head", "hops", "prelude", "source", "tail")

    def __init__(
        self,
        args: tuple[Argument, ...],
        data: bytes,
        future: "asyncio.Future[Any]",
        *,
        hops: int = 0,
        prelude: int = 0,
        source: str | None = None,
        tail: bytes = b"",
    ) -> None:
        self.args, self.data, self.future = args, data, future
        self.hops, self.prelude, self.source = hops, prelude, source
        self.tail, self.carries = tail, False
        self.head: Any = NOTHING

    def again(self) -> "Call":
        """The same command, after one more redirection."""
        return Call(
            self.args, pack(self.args), self.future, hops=self.hops + 1, source=self.source, tail=self.tail
        )

    def in_full(self, source: str) -> "Call":
        """The same script by its text."""
        args = ("EVAL", source, *self.args[2:])
        return Call(args, pack(args), self.future, hops=self.hops, tail=self.tail)

    def joined(self, reply: Any) -> Any:
        """What the caller gets, ``reply`` being the tail's."""
        if isinstance(self.head, Exception):
            return self.head
        return reply if isinstance(reply, Exception) else [self.head, reply]

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Owner(Protocol):
    """Who is told what becomes of a lane."""

    def refused(self, call: Call, error: exceptions.ResponseError) -> bool:
        """An error is the reply to ``call``. False if the connection leads nowhere now."""
        ...

    def finished(self, lane: "Lane") -> None:
        """Every reply to what was sent has arrived; the lane is free."""
        ...

    def lost(self, lane: "Lane", cause: BaseException, calls: Sequence[Call]) -> None:
        """The lane is closed, and ``calls`` had no reply."""
        ...


class Lane(asyncio.Protocol):
    """Takes the socket of a connected ``connection`` over; that is disconnected from then on.

    ``place`` is the server's host and port; empty and 0 if it has none.

    Raises:
        redis.exceptions.ConnectionError: the server has closed it.
    """

    def __init__(self, connection: Any, owner: Owner, *, timeout: float) -> None:
        self._owner = owner
        self._alarm = Alarm(timeout, self._late)
        self._calls: deque[Call] = deque()
        self._held: list[Call] = []  # they have their reply, and another call carries their tail
        self._replies = make_replies()
        self._arriving = Arriving(timeout)
        self._fit = True
        self._closed = False
        self._gone = asyncio.get_running_loop().create_future()
        self.place: Place = (getattr(connection, "host", ""), getattr(connection, "port", 0))
        reader, self._writer = connection._reader, connection._writer  # a writer that is dropped complains
        connection._reader = connection._writer = None
        self._transport: asyncio.Transport = self._writer.transport
        self._transport.set_protocol(self)
        if reader.at_eof() or self._transport.is_closing():
            self._transport.abort()
            raise exceptions.ConnectionError(_GONE)

    def send(self, batch: Sequence[Call]) -> None:
        """Send a batch; only while the lane is free."""
        self._calls.extend(batch)
        self._alarm.begin()
        parts = [call.data for call in batch]
        tails: set[bytes] = set()
        for at in range(len(batch) - 1, -1, -1):
            call = batch[at]
            if call.tail and call.tail not in tails:
                tails.add(call.tail)
                call.carries = True
                parts[at] += call.tail
        self._transport.write(b"".join(parts))

    def closing(self) -> bool:
        """Whether the transport has ended, which it says a turn of the loop later."""
        return self._transport.is_closing()

    def close(self, cause: BaseException) -> None:
        """Drop the connection, and what was not sent; closing twice is closing once."""
        if self._closed:
            return
        self._closed = True
        self._alarm.end()
        self._transport.abort()
        calls = [*self._held, *self._calls]
        self._held.clear()
        self._calls.clear()
        self._owner.lost(self, cause, calls)

    async def leave(self) -> None:
        """Close by choice; the socket is closed afterwards."""
        self.close(InterruptedError("interrupted"))
        await self._gone

    def _late(self) -> None:
        self.close(TimeoutError())

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        calls, replies = self._calls, self._replies
        if not calls:
            self.close(exceptions.InvalidResponse(_UNASKED))
            return
        answers = False
        try:
            replies.feed(data)
            while (reply := replies.gets()) is not NOTHING:
                if not calls:
                    raise exceptions.InvalidResponse(_UNASKED)
                answers = True
                call = calls[0]
                if call.prelude:
                    call.prelude -= 1
                    continue
                if call.tail:
                    if call.head is NOTHING and self._holds(call, reply):
                        continue
                    if call.carries:
                        self._share(call.tail, reply)
                        reply = call.joined(reply)
                self._deliver(call, reply)
                calls.popleft()
            if answers:
                self._arriving.whole()
                if not calls and replies.has_data():
                    raise exceptions.InvalidResponse(_UNASKED)
            else:
                answers = self._arriving.more(len(data))
        except (exceptions.RedisError, *MALFORMED) as error:
            self.close(error)
            return
        if calls:
            if answers:
                self._alarm.begin()  # a server that answers does not hang
        elif self._fit:
            self._alarm.end()
            self._owner.finished(self)
        else:
            self.close(exceptions.ConnectionError("it leads nowhere"))

    def _holds(self, call: Call, reply: Any) -> bool:
        """Keep the first reply to a call with a tail. False if there is no second to wait for."""
        call.head = reply
        if call.carries:
            return True
        if isinstance(reply, Exception):
            return False
        self._held.append(self._calls.popleft())
        return True

    def _share(self, tail: bytes, reply: Any) -> None:
        """Deliver a tail's reply to the calls before the one that has carried it."""
        for call in self._held:
            if call.tail == tail:
                # Each caller raises its own: a traceback grows with everyone who raises it.
                own = type(reply)(*reply.args) if isinstance(reply, Exception) else reply
                self._deliver(call, call.joined(own))
        self._held = [call for call in self._held if call.tail != tail]

    def _deliver(self, call: Call, reply: Any) -> None:
        if not isinstance(reply, Exception):
            if not call.future.done():
                call.future.set_result(reply)
        elif isinstance(reply, exceptions.ResponseError):
            self._fit &= self._owner.refused(call, reply)
        else:
            raise reply  # the server refuses to talk to us at all

    def eof_received(self) -> None:
        self.close(exceptions.ConnectionError(_GONE))

    def connection_lost(self, error: Exception | None) -> None:
        self.close(error or exceptions.ConnectionError(_GONE))
        if not self._gone.done():
            self._gone.set_result(None)
