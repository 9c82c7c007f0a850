"""The S3 client of a storage: the one that was given, or one for each event loop, made on first use."""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from scalekit import _amazon
from scalekit.errors import ConfigurationError
from scalekit.storage._background import Guests
from scalekit.storage._s3_digests import use_digests

_BUCKET = re.compile(r"[a-zA-Z0-9._-]{1,255}")  # what the client takes; S3 is stricter about new ones


def check_bucket(bucket: str) -> str:
    """``bucket`` itself, if it can be the name of one or the ARN of an access point.

    Raises:
        ConfigurationError: it is a URL or a path, which the client would refuse on first use, or nothing.
    """
    if isinstance(bucket, str):  # it often comes from the environment, where it may be missing
        if bucket.startswith("arn:") or _BUCKET.fullmatch(bucket):
            return bucket
        name, _, below = bucket.removeprefix("s3://").partition("/")
        if _BUCKET.fullmatch(name):
            prefix = f", prefix={below.rstrip('/') + '/'!r}" if below.strip("/") else ""
            raise ConfigurationError(f"bucket={bucket!r} is no name; write bucket={name!r}{prefix}")
    raise ConfigurationError(f"bucket={bucket!r}; give the bucket's name, such as 'media'")


def factory(**options: str | None) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """What makes a client. ``options`` are boto3's; what is ``None`` is looked up as for every AWS tool.

    Raises:
        ConfigurationError: an endpoint without a scheme, which the client would refuse on first use, or an
            AWS_PROFILE that is in no file.
    """
    _amazon.check_endpoint(options["endpoint_url"])
    return partial(_client, create=_create(), **options)


def _create() -> Any:
    try:
        import aioboto3
    except ModuleNotFoundError:  # it asks for one version of aiobotocore, and some have another
        return None
    with _amazon.settings():
        return aioboto3.Session().client


@asynccontextmanager
async def _client(**options: Any) -> AsyncGenerator[Any, None]:
    # Parts wait in our own queues, where waiting does not count as S3 being slow.
    async with _amazon.s3_client(connections=256, **options) as client:
        use_digests(client)
        yield client


class Clients(_amazon.Clients):
    """Those of a storage, where work in the background may be a guest."""

    def __init__(self, given: Any, create: Callable[[], AbstractAsyncContextManager[Any]] | None) -> None:
        super().__init__(given, create)
        self._guests = Guests()

    async def get(self) -> Any:
        self._guests.enter(opened=self.opened)
        return await super().get()

    async def aclose(self) -> None:
        """Close the running loop's client, unless it was given entered. What sweeps in the background ends
        before, and opens none after."""
        await self._guests.stop()
        await super().aclose()
