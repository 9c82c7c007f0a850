"""What session stores report."""

import importlib.util
from typing import Any

import pytest

from scalekit.errors import BackendError
from scalekit.sessions import MemoryStore, Store
from tests.measured import numbers, risen
from tests.servers.ports import free_port
from tests.sessions.conftest import ELSEWHERE, STORES

ID = "ab" * 32
OPERATIONS, TRIPS, FAILURES = (
    f"scalekit_session_{name}" for name in ("operations", "round_trips", "failures")
)
READ, WRITTEN = "scalekit_session_read_bytes", "scalekit_session_written_bytes"


def use(bound: Any) -> None:
    """Each operation of a store once, but `load` twice."""
    bound.create(ID, fields={b"a": b"1"}, user=b"u", idle=60_000, lifetime=60_000)
    bound.load(ID, idle=60_000, step=1000)
    bound.load("cd" * 32, idle=60_000, step=1000)
    bound.save(ID, changed={b"a": b"2"}, removed=(), idle=60_000)
    bound.swap(ID, b"a", expected=b"2", value=b"3", idle=60_000)
    bound.listed(b"u")
    bound.destroy(ID, grace=1000, user=b"u")


@pytest.mark.parametrize("store", [name for name in STORES if name not in ELSEWHERE], indirect=True)
def test_a_store_reports_its_operations_and_round_trips(store: Store) -> None:
    """By kind, those of every colour together; a store in memory makes no trips, Redis one for each."""
    before = numbers(store)
    assert before[f"{OPERATIONS} save"] == before[f"{FAILURES} save"] == 0  # shown before it happens
    use(store.using("sync"))
    found = risen(before, numbers(store))
    trips = found.pop(TRIPS, 0)
    assert found.pop(READ) == 2  # of the one that was there
    assert found.pop(WRITTEN) == 2 + 2 + 2  # created, saved and swapped
    assert found == {
        f"{OPERATIONS} {operation}": 2 if operation == "load" else 1
        for operation in ("create", "load", "save", "swap", "listed", "destroy")
    }
    if isinstance(store, MemoryStore):
        assert trips == 0
    elif type(store).__module__ == "scalekit.sessions.redis":
        assert trips == 7
    else:
        assert trips > 7  # what Memcached cannot do at once is read and written
    store.using("sync").load(ID, idle=60_000, step=1000)
    assert numbers(store)[f"{OPERATIONS} load"] == 3


@pytest.mark.parametrize("store", [name for name in STORES if name not in ELSEWHERE], indirect=True)
def test_a_store_reports_bytes(store: Store) -> None:
    """Keys and values of what is loaded, each time, and of what is written to sessions: nothing for what
    is removed, is not there any more, or was not as expected."""
    bound: Any = store.using("sync")
    bound.create(ID, fields={b"key": b"x" * 100}, user=None, idle=60_000, lifetime=60_000)
    assert (numbers(store)[READ], numbers(store)[WRITTEN]) == (0, 103)
    for _ in range(3):  # its own browser's, which the store may say is still the same
        assert bound.load(ID, idle=60_000, step=60_000, own=True) is not None
    assert (numbers(store)[READ], numbers(store)[WRITTEN]) == (309, 103)
    bound.save(ID, changed={b"other": b"1234"}, removed=[b"key"], idle=60_000)
    assert numbers(store)[WRITTEN] == 112
    bound.save(ID, changed={}, removed=[b"nothing"], idle=60_000)
    bound.swap(ID, b"other", expected=b"1", value=b"12345678", idle=60_000)
    bound.swap(ID, b"other", expected=b"1234", value=None, idle=60_000)
    bound.save("cd" * 32, changed={b"other": b"1234"}, removed=[], idle=60_000)
    bound.destroy(ID, grace=1000)
    bound.load(ID, idle=60_000, step=1000)
    assert (numbers(store)[READ], numbers(store)[WRITTEN]) == (309, 112)


@pytest.mark.parametrize("store", [name for name in STORES if "server" in name], indirect=True)
async def test_the_asynchronous_colour_counts_alike(store: Store) -> None:
    """One object, one set of numbers."""
    bound = store.using("async")
    await bound.load(ID, idle=60_000, step=1000)  # type: ignore[misc]
    assert numbers(store)[f"{OPERATIONS} load"] == numbers(store)[TRIPS] == 1


@pytest.mark.parametrize("kind", [kind for kind in ("redis", "pymemcache") if importlib.util.find_spec(kind)])
async def test_a_failure_is_counted_by_operation(kind: str) -> None:
    """A store that is away fails what was asked of it, in both colours."""
    store: Any
    if kind == "redis":
        from scalekit.sessions.redis import RedisStore

        store = RedisStore.from_url(f"redis://127.0.0.1:{free_port()}/0")
    else:
        from scalekit.sessions.memcached import MemcachedStore

        store = MemcachedStore.from_url(f"memcached://127.0.0.1:{free_port()}")
    with pytest.raises(BackendError):
        store.using("sync").load(ID, idle=60_000, step=1000)
    with pytest.raises(BackendError):
        await store.using("async").save(ID, changed={b"a": b"1"}, removed=(), idle=60_000)
    found = numbers(store)
    assert found[f"{FAILURES} load"] == found[f"{FAILURES} save"] == 1
    assert found[f"{FAILURES} swap"] == 0


def test_an_encrypted_store_reports_what_it_wraps() -> None:
    """Whichever of the two is at hand tells the same."""
    pytest.importorskip("cryptography")
    from scalekit.sessions.encryption import EncryptedStore

    inner = MemoryStore()
    store = EncryptedStore(inner, keys="a secret that is long enough for it")
    store.using("sync").load(ID, idle=60_000, step=1000)
    assert numbers(store) == numbers(inner)
    assert numbers(store)[f"{OPERATIONS} load"] == 1
