"""A busy machine keeps a server from answering in time: that is tested where it is meant, not by chance.

``python -m tests.patience examples.cache_flask`` runs a module as a program that is patient.
"""

import importlib
import runpy
import sys
from typing import Any

from scalekit.errors import MissingExtra


def _modules() -> list[Any]:
    found = []
    for name in ("redis", "memcached"):
        try:
            found.append(importlib.import_module(f"scalekit.cache.{name}"))
        except MissingExtra:  # with one extra alone
            continue
    return found


_MODULES = _modules()

TIMEOUTS: dict[str, float] = {module.__name__.rpartition(".")[2]: module.TIMEOUT for module in _MODULES}
"""Seconds that the cache waits for each server when nobody says how long."""


def be_patient() -> None:
    """Have the cache wait longer where nobody says how long, and for what others have to say."""
    for module in _MODULES:
        module.TIMEOUT = 5.0
    if "redis" in TIMEOUTS:
        importlib.import_module("scalekit.cache.redis_channel").LATE = 5.0


if __name__ == "__main__":
    be_patient()
    runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)
