"""Server-side sessions: one core for ASGI, WSGI, Flask and Django.

The shells stand in :mod:`scalekit.sessions.asgi`, :mod:`~scalekit.sessions.wsgi`,
:mod:`~scalekit.sessions.flask` and :mod:`~scalekit.sessions.django`; Redis in :mod:`scalekit.sessions.redis`
and Memcached in :mod:`scalekit.sessions.memcached`.
"""

from scalekit._http import Cookie
from scalekit.sessions._core import Options
from scalekit.sessions.data import SessionData
from scalekit.sessions.events import Events, SessionEvent
from scalekit.sessions.memory import MemoryStore
from scalekit.sessions.session import Session
from scalekit.sessions.store import BoundStore, Created, Inherited, Loaded, Rotation, Store, Swapped
from scalekit.sessions.users import AsyncUserSessions, SessionInfo, UserSessions

__all__ = [
    "AsyncUserSessions",
    "BoundStore",
    "Cookie",
    "Created",
    "Events",
    "Inherited",
    "Loaded",
    "MemoryStore",
    "Options",
    "Rotation",
    "Session",
    "SessionData",
    "SessionEvent",
    "SessionInfo",
    "Store",
    "Swapped",
    "UserSessions",
]
