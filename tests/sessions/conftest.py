"""Every shell over every store that this machine has."""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scalekit.sessions import MemoryStore, Store
from tests.patience import patient_links
from tests.sessions.shells import SHELLS, Shell, Visitor

NEEDS = {
    "redis_server": "redis",
    "redis_sentinel": "redis",
    "redis_cluster": "redis",
    "memcached_server": "pymemcache",
}
"""The servers with sessions, and the package without which we cannot use them."""

# With one extra alone there are no others' stores.
STORES = ["memory", *(server for server, package in NEEDS.items() if importlib.util.find_spec(package))]


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """A store that is not told how long to wait for its server waits for long."""
    with patient_links():
        yield


@pytest.fixture(params=SHELLS)
def shell_type(request: pytest.FixtureRequest) -> type[Shell]:
    """Each framework in turn."""
    return SHELLS[request.param]


# 30. The same results in Memcached, under Sentinel and in a Cluster (there: what overtakes what, and is
# atomic), with one framework of each colour, as a store does not know which framework asks.
ELSEWHERE = ("redis_sentinel", "redis_cluster")
THERE = ("test_races", "test_atomic", "test_lost_answers")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what tells nothing new."""
    left_out = [item for item in items if not tells_something(item)]
    items[:] = [item for item in items if tells_something(item)]
    config.hook.pytest_deselected(items=left_out)


def tells_something(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    store = None if callspec is None else callspec.params.get("store")
    if callspec is None or store not in (*ELSEWHERE, "memcached_server"):
        return True
    told = store == "memcached_server" or item.path.stem in THERE
    return told and callspec.params.get("shell_type", "asgi") in ("asgi", "wsgi")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn."""
    if request.param == "memory":
        return MemoryStore()
    url, prefix = request.getfixturevalue(request.param).url, request.getfixturevalue("prefix")
    # Patient: these tests are about sessions, and a machine under load is no outage (test_outage has those).
    options = {"timeout": 30, "connect_timeout": 30}
    if request.param == "memcached_server":
        from scalekit.sessions.memcached import MemcachedStore

        return MemcachedStore.from_url(url, prefix=prefix, **options)
    from scalekit.sessions.redis import RedisStore

    return RedisStore.from_url(url, prefix=prefix, **options)


@pytest.fixture
def shell(shell_type: type[Shell], store: Store) -> Shell:
    """Each framework over each store, with the default options."""
    return shell_type(store)


@pytest.fixture
def visitor(shell: Shell) -> Visitor:
    return shell.visitor()


@pytest.fixture
def make_shell(shell_type: type[Shell]) -> Callable[..., Shell]:
    """A shell of each framework over a store of the test's choice, with options."""

    def make(store: Store | None = None, **options: Any) -> Shell:
        return shell_type(store if store is not None else MemoryStore(), **options)

    return make
