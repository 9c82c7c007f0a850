"""For tests, with or without pytest: the contracts of stores, back ends and storages, a storage with faults,
and test clients with a session.

Each is imported when it is asked for, so that none drags in another piece.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalekit.testing.cache import check_backend as check_backend
    from scalekit.testing.cache import check_backend_async as check_backend_async
    from scalekit.testing.clients import login as login
    from scalekit.testing.clients import login_async as login_async
    from scalekit.testing.clients import session_of as session_of
    from scalekit.testing.faults import FaultyStorage as FaultyStorage
    from scalekit.testing.sessions import check_store as check_store
    from scalekit.testing.sessions import check_store_async as check_store_async
    from scalekit.testing.storage import check_storage as check_storage

_HOMES = {
    "FaultyStorage": "scalekit.testing.faults",
    "check_backend": "scalekit.testing.cache",
    "check_backend_async": "scalekit.testing.cache",
    "check_storage": "scalekit.testing.storage",
    "check_store": "scalekit.testing.sessions",
    "check_store_async": "scalekit.testing.sessions",
    "login": "scalekit.testing.clients",
    "login_async": "scalekit.testing.clients",
    "session_of": "scalekit.testing.clients",
}

__all__ = [
    "FaultyStorage",
    "check_backend",
    "check_backend_async",
    "check_storage",
    "check_store",
    "check_store_async",
    "login",
    "login_async",
    "session_of",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
