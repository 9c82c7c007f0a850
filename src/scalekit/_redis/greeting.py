"""What a new connection asks before anybody's commands go over it.

A connection leads to whichever server has the address, or the master's role, at that moment. What must be
known of a server before it is believed is asked here: a connection whose question was refused, or not
answered, is not used.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from redis import exceptions

from scalekit._redis.script import Request
from scalekit._redis.wire import pack
from scalekit._steps import Steps, run, run_async
from scalekit.types import Colour


@dataclass(frozen=True)
class Greeting:
    """What is asked over each new connection, to a server or to Sentinels' master.

    Args:
        request: gives it, for one connection: a script, which is sent by its text.
        accepts: is given the reply, and says whether the connection may be used.
    """

    request: Callable[[], Request]
    accepts: Callable[[Any], bool]

    def on_connect(
        self, colour: Colour, begin: Callable[[Any], Any] | None
    ) -> Callable[[Any], Awaitable[None] | None]:
        """What redis-py calls with a connection that it has opened (``redis_connect_func``).

        Args:
            begin: what a client that was given has there; it logs in. ``None``: redis-py does.
        """

        def greet(connection: Any) -> Steps[None]:
            yield begin(connection) if begin is not None else connection.on_connect()
            # Not send_command, which spells it in the encoding of a client that was given.
            packed = pack(self.request().in_full())
            yield connection.send_packed_command([packed], check_health=False)
            try:
                reply = yield connection.read_response()
            except exceptions.ResponseError as error:
                # It is about the server and not about anybody's command.
                raise exceptions.ConnectionError(f"a new connection is of no use: {error}") from error
            if not self.accepts(reply):
                raise exceptions.ConnectionError(
                    "a new connection is of no use: its first reply is none of ours"
                )

        async def greet_async(connection: Any) -> None:
            await run_async(greet(connection))

        return greet_async if colour == "async" else lambda connection: run(greet(connection))
