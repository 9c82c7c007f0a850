"""A busy machine keeps a server from answering in time: that is tested where it is meant, not by chance.

``python -m tests.patience examples.cache_flask`` runs a module as a program that is patient.
"""

import importlib
import runpy
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

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
        channel: Any = importlib.import_module("scalekit.cache.redis_channel")
        channel.LATE = channel.CONNECTING = 5.0


@contextmanager
def patient_links() -> Iterator[None]:
    """Inside, links to Redis and Memcached wait for 30 seconds where nobody says how long."""
    patient = {"timeout": 30.0, "connect_timeout": 30.0}
    with ExitStack() as stack:
        for name, link in (("_redis", "Redis"), ("_memcached", "Memcached")):
            try:
                made: Any = getattr(importlib.import_module(f"scalekit.{name}"), link).from_url
            except MissingExtra:  # with one extra alone
                continue
            stack.enter_context(patch.dict(made.__func__.__kwdefaults__, patient))
        yield


@contextmanager
def patient_clusters() -> Iterator[None]:
    """Inside, clusters of databases wait for 30 seconds where nobody says how long."""
    with ExitStack() as stack:
        try:
            made: Any = importlib.import_module("scalekit.database.cluster_base").ClusterBase.__init__
        except MissingExtra:
            pass
        else:
            patient = {"probe_timeout": 30.0, "connect_timeout": 30.0}
            stack.enter_context(patch.dict(made.__kwdefaults__, patient))
        yield


if __name__ == "__main__":
    del sys.argv[0]  # the module's own arguments follow its name
    be_patient()
    with patient_links(), patient_clusters():
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
