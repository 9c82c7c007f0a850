"""What makes a response one visitor's. Pure.

Whether the session was looked at, each middleware says in a way of its own, so several signs are taken:
``Vary: Cookie``, which scalekit's, Starlette's, Flask's and Django's sessions send when they were; and the
session object itself, where there is one: its ``accessed``, and of one that does not know, whether there is
anything in it.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from scalekit.types import Headers

_DEPENDS = (b"cookie", b"authorization")


def reason(request: Headers, response: Headers, *, session: object) -> str | None:
    """Why a response is one visitor's, whoever says what; ``None`` if nothing tells so."""
    for name, _ in request:
        if name == b"authorization":
            return "the request has Authorization"
    for name, value in response:
        name = name.lower()
        if name == b"set-cookie":
            return "it sets a cookie"
        if name == b"vary":
            fields = {part.strip().lower() for part in value.split(b",")}
            for field in _DEPENDS:
                if field in fields:
                    return f"its Vary names {field.decode().title()}"
    return "the session was read" if session is not None and session_was_read(session) else None


def session_was_read(session: object) -> bool:
    """Of any session."""
    accessed = getattr(session, "accessed", None)
    return bool(session) if accessed is None else bool(accessed)


def cookie(request: Headers, ignored: Iterable[Iterable[str]]) -> str | None:
    """Why a request's cookies make the response one visitor's; ``None`` if all policies ignore all."""
    cookies = [pair for header, value in request if header == b"cookie" for pair in value.split(b";")]
    if not cookies:
        return None
    names = [pair.partition(b"=")[0].strip().decode("latin-1") for pair in cookies]
    for patterns in ignored:
        for name in names:
            if name and not any(fnmatchcase(name, pattern) for pattern in patterns):
                return f"the request has the cookie {name!r:.60}, which is not in ignore_cookies="
    return None
