"""Every shell over every store that this machine has."""

from collections.abc import Callable
from typing import Any

import pytest

from scalekit.sessions import MemoryStore, Store
from tests.sessions.shells import SHELLS, Shell, Visitor


@pytest.fixture(params=SHELLS)
def shell_type(request: pytest.FixtureRequest) -> type[Shell]:
    """Each framework in turn."""
    return SHELLS[request.param]


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn."""
    if request.param == "memory":
        return MemoryStore()
    from scalekit.sessions.redis import RedisStore

    url, prefix = request.getfixturevalue("redis_url"), request.getfixturevalue("prefix")
    # Patient: these tests are about sessions, and a machine under load is no outage (test_outage has those).
    return RedisStore.from_url(url, prefix=prefix, timeout=30, connect_timeout=30)


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
