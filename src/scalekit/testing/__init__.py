"""The contracts as tests that anyone can run, without pytest, on a store, backend or storage of their own.

Each is imported when it is asked for, so that none drags in another piece.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalekit.testing.sessions import check_store as check_store
    from scalekit.testing.sessions import check_store_async as check_store_async
    from scalekit.testing.storage import check_storage as check_storage

_HOMES = {
    "check_storage": "scalekit.testing.storage",
    "check_store": "scalekit.testing.sessions",
    "check_store_async": "scalekit.testing.sessions",
}

__all__ = ["check_storage", "check_store", "check_store_async"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
