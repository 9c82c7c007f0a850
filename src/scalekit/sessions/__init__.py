"""Server-side sessions: one core for ASGI, WSGI, Flask and Django.

The shells stand in :mod:`scalekit.sessions.asgi`, :mod:`~scalekit.sessions.wsgi`,
:mod:`~scalekit.sessions.flask` and :mod:`~scalekit.sessions.django`; Redis in :mod:`scalekit.sessions.redis`.
"""

from scalekit._http import Cookie
from scalekit.sessions._core import Options
from scalekit.sessions.memory import MemoryStore
from scalekit.sessions.session import Session
from scalekit.sessions.store import BoundStore, Created, Loaded, Store

__all__ = ["BoundStore", "Cookie", "Created", "Loaded", "MemoryStore", "Options", "Session", "Store"]
