"""The queue of purges before each purger that there is, at APIs that refuse what they do not document."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

pytest.importorskip("aiobotocore")  # the stand-in of CloudFront reads botocore's model

from scalekit.cdn.cloudfront import AsyncCloudFront, CloudFront
from scalekit.cdn.fastly import AsyncFastly, Fastly
from scalekit.cdn.purge import Purged
from scalekit.cdn.purge_queue import PurgeQueue
from tests.cdn import purge_apis
from tests.cdn.purge_apis import DISTRIBUTION, SERVICE, TOKEN

PATIENCE = 60
KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "aws-secret-hunter2"}


class Closing(AsyncCloudFront):
    """Leaves no connection to the end of the test."""

    async def tags(self, tags: Iterable[str]) -> Purged:
        try:
            return await super().tags(tags)
        finally:
            await self.aclose()


MAKE: dict[type, Callable[[str], Any]] = {
    Fastly: lambda url: Fastly(SERVICE, token=TOKEN, api=url, budget=0),
    AsyncFastly: lambda url: AsyncFastly(SERVICE, token=TOKEN, api=url, budget=0),
    CloudFront: lambda url: CloudFront(DISTRIBUTION, endpoint_url=url, budget=0, **KEYS),
    AsyncCloudFront: lambda url: Closing(DISTRIBUTION, endpoint_url=url, budget=0, **KEYS),
}


@pytest.fixture(params=list(MAKE), ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type:
    kind: type = request.param
    return kind


@pytest.fixture
def api(kind: type) -> Iterator[Any]:
    with purge_apis.Fastly() if "Fastly" in kind.__name__ else purge_apis.CloudFront() as api:
        yield api


def test_the_queue_with_each_purger(kind: type, api: Any) -> None:
    """One that has failed is asked again by the queue, when its own patience is at an end."""
    api.script = [(503, {})]
    queue = PurgeQueue(MAKE[kind](api.url), delay=0)
    for tags in (["products", "product:7"], ["product:8"]):
        queue.add(tags)
        assert queue.wait(PATIENCE)
    assert queue.counts.as_dict() == {"purged": 3, "retries": 1}
    assert len(api.requests) >= 3
