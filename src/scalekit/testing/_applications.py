"""Where an application has its sessions: found by the names under which wrappers keep what they wrap.

No framework is imported; what is there says what it is.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from scalekit._http import Cookie
from scalekit.sessions._core import Core
from scalekit.sessions.asgi import AsyncSession
from scalekit.sessions.asgi import SessionMiddleware as ASGIMiddleware
from scalekit.sessions.session import Session
from scalekit.sessions.wsgi import SessionMiddleware as WSGIMiddleware
from scalekit.sessions.wsgi import SyncSession

# Starlette and most middlewares; Flask; Starlette again; functools.wraps; bound methods; asgiref; werkzeug.
_DEEP = 1000  # more wrappers than there are; a mock object would have ever more
_INNER = ("app", "wsgi_app", "middleware_stack", "__wrapped__", "__self__", "application", "wsgi_application")


class Found(NamedTuple):
    """The sessions of an application.

    Attributes:
        make: a session for a token, as the application would make it.
        finish: what is left to do after a commit.
    """

    core: Core
    make: Callable[..., Session]
    finish: Callable[[Session], None]

    @property
    def cookie(self) -> Cookie:
        return self.core.cookie

    @property
    def legacy(self) -> list[Cookie]:
        """Those that it moves sessions from."""
        return [legacy.cookie for legacy in self.core.moving]


def find(app: Any) -> Found:
    """The sessions of the outermost session middleware of ``app``.

    Raises:
        LookupError: there are none.
    """
    waiting, seen = deque([app]), {id(None)}
    while waiting and len(seen) < _DEEP:
        candidate = waiting.popleft()
        if id(candidate) in seen:
            continue
        seen.add(id(candidate))
        found = _sessions(candidate)
        if found is not None:
            return found
        waiting.extend(_inside(candidate))
    raise LookupError(
        f"no sessions of scalekit were found in {type(app).__name__}; pass the SessionMiddleware, or the "
        "application that it was added to: session_of(client, app=...)"
    )


def _sessions(candidate: Any) -> Found | None:
    if isinstance(candidate, ASGIMiddleware | WSGIMiddleware):
        session = AsyncSession if isinstance(candidate, ASGIMiddleware) else SyncSession
        core = candidate._core
        return Found(core, lambda token, https: session(core, token, https=https), lambda session: None)
    for kind, args, kwargs in _added(candidate):
        if isinstance(kind, type) and issubclass(kind, ASGIMiddleware):
            return _sessions(kind(candidate, *args, **kwargs))
    module = sys.modules.get("scalekit.sessions.flask")  # there, if the application uses it
    interface = getattr(candidate, "session_interface", None)
    if module is not None and isinstance(interface, module.ServerSessionInterface):
        return _flask(candidate, interface, module.FlaskSession)
    return None


def _flask(app: Any, interface: Any, session: Callable[..., Session]) -> Found:
    core = interface._core(app)
    return Found(
        core,
        lambda token, https: session(core, token, https=https),
        lambda session: interface._move_deadline(core, session),
    )


def _added(candidate: Any) -> Iterator[tuple[Any, Any, Any]]:
    """What Starlette's ``add_middleware`` was given, outermost first; it is built with the first request."""
    for entry in _listed(candidate, "user_middleware"):
        yield getattr(entry, "cls", None), getattr(entry, "args", ()), getattr(entry, "kwargs", {})


def _inside(candidate: Any) -> Iterator[Any]:
    for name in _INNER:
        yield getattr(candidate, name, None)
    for route in _listed(candidate, "routes"):
        yield getattr(route, "app", None)  # a Mount's
    mounts = getattr(candidate, "mounts", None)  # of werkzeug's DispatcherMiddleware
    if isinstance(mounts, dict):
        yield from mounts.values()


def _listed(candidate: Any, name: str) -> list[Any]:
    value = getattr(candidate, name, None)
    return value if isinstance(value, list) else []
