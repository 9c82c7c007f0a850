"""Back ends that every promise is tested on."""

from collections.abc import Iterator

import pytest

from scalekit.cache import leading, runtime
from scalekit.cache.backend import Backend
from scalekit.cache.memory import MemoryBackend
from tests.patience import TIMEOUTS, be_patient

be_patient()

# With one extra alone there are no others' servers.
BACKENDS = ["memory", *TIMEOUTS]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, prefix: str) -> Iterator[Backend]:
    """A back end that only this test uses."""
    made: Backend
    if request.param == "memory":
        yield MemoryBackend()
        return
    if request.param == "redis":
        from scalekit.cache.redis import RedisBackend

        made = RedisBackend.from_url(request.getfixturevalue("redis_url"), prefix=prefix)
    else:
        from scalekit.cache.memcached import MemcachedBackend

        made = MemcachedBackend.from_url(request.getfixturevalue("memcached_server").url, prefix=prefix)
    yield made
    made.using("sync").close()


@pytest.fixture
def long_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has no turn for some seconds keeps its leases all the same, and it stays known what is
    not to be stored. For tests that wait for neither's end."""
    for where in runtime, leading:
        monkeypatch.setattr(where, "LEASE_TTL", 60.0)
    monkeypatch.setattr(leading, "PASS_TTL", 60.0)
