"""Who visits: what stays the same between two requests, so that both read from one replica.

It is hashed, and kept nowhere. Who lies about it is sent to another replica, where they read what everybody
reads; what they wrote is in their token, not here.
"""

from collections.abc import Callable
from typing import TypeAlias

from scalekit._http import read_cookie
from scalekit._options import check_kind
from scalekit.database.choice import anybody, number
from scalekit.types import Headers

Identify: TypeAlias = Callable[[Headers, str | None], str | None]
"""What ``visitor=`` takes: of a request's headers (ASGI's pairs of bytes, names in lower case) and the
address that it came from, a text that stays the same for one visitor; ``None``: nobody in particular."""


def visitor_number(who: str | None) -> int:
    """64 bits that stand for ``who``; for nobody in particular, other ones each time.

    Raises:
        TypeError: it is no text. Only a text is certain to be the same in another process.
    """
    if who is None:
        return anybody()
    if not isinstance(who, str):
        raise TypeError(f"a visitor is told by a text, such as str(user.id), not by {type(who).__name__}")
    return number(who)


def by_client(headers: Headers, address: str | None) -> str | None:
    """The ``Authorization``, or else the browser and the address, the first one of ``X-Forwarded-For``."""
    agent = b""
    for name, value in headers:
        if name == b"authorization":
            return value.decode("latin-1")
        if name == b"x-forwarded-for":
            address = value.partition(b",")[0].strip().decode("latin-1")
        elif name == b"user-agent":
            agent = value
    return None if address is None else f"{address} {agent.decode('latin-1')}"


def by_cookie(name: str) -> Identify:
    """The value of a cookie that the application sets, such as a session's; where there is none, the client.

    Args:
        name: the cookie's; with the prefix ``__Host-`` it counts too.
    """
    check_kind(name, str, option="by_cookie()", wanted="the name of a cookie, such as 'session'")
    names = (f"__Host-{name}", name)

    def identify(headers: Headers, address: str | None) -> str | None:
        for one in names:
            if value := read_cookie(headers, one):
                return value
        return by_client(headers, address)

    return identify
