"""Back ends that every promise is tested on."""

from collections.abc import Iterator

import pytest

from scalekit.cache.backend import Backend
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.redis import RedisBackend
from tests.patience import be_patient

be_patient()


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest, prefix: str) -> Iterator[Backend]:
    """A back end that only this test uses."""
    if request.param == "memory":
        yield MemoryBackend()
    else:
        made = RedisBackend.from_url(request.getfixturevalue("redis_url"), prefix=prefix)
        yield made
        made.using("sync").close()
