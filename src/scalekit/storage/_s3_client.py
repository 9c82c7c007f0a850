"""The S3 client of a storage: the one that was given, or one for each event loop, made on first use."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import (
    ConfigParseError,
    InvalidRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

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
    endpoint = options["endpoint_url"]
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise ConfigurationError("endpoint_url= begins with http:// or https://")
    named = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    s3: dict[str, Any] = {"addressing_style": "path" if endpoint else "auto"}
    if not named.startswith("http://"):
        s3["payload_signing_enabled"] = False
    config = AioConfig(
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=5,
        read_timeout=60,
        # Parts wait in our own queues, where waiting does not count as S3 being slow.
        max_pool_connections=256,
        retries={"mode": "standard", "total_max_attempts": 3},
        s3=s3,
    )
    return partial(_client, partial(_create(), "s3", config=config, **options))


def _create() -> Any:
    try:
        import aioboto3
    except ModuleNotFoundError:  # it asks for one version of aiobotocore, and some have another
        return get_session().create_client
    with _settings():
        return aioboto3.Session().client


@asynccontextmanager
async def _client(create: Callable[[], AbstractAsyncContextManager[Any]]) -> AsyncGenerator[Any, None]:
    async with AsyncExitStack() as stack:
        with _settings():  # only while it is made: what comes later is of requests
            client = await stack.enter_async_context(create())
        use_digests(client)
        yield client


@contextmanager
def _settings() -> Generator[None, None, None]:
    """Translate what botocore says of arguments, variables and files, which names no key."""
    try:
        yield
    except ProfileNotFound as error:
        raise ConfigurationError(f"{error}; correct AWS_PROFILE, or add it to ~/.aws/config") from error
    except (PartialCredentialsError, ConfigParseError, InvalidRegionError) as error:
        raise ConfigurationError(str(error)) from error


class Clients:
    """Hands out the client that belongs to the running event loop.

    Args:
        given: an entered client, which its owner closes, or a context manager that yields one.
        create: makes a context manager that yields a client, where none was given.
    """

    def __init__(self, given: Any, create: Callable[[], AbstractAsyncContextManager[Any]] | None) -> None:
        self._entered = given if hasattr(given, "meta") else None
        self._create = create or (lambda: given)
        self._open: dict[asyncio.AbstractEventLoop, tuple[asyncio.Task[Any], AsyncExitStack]] = {}
        self._guests = Guests()

    async def get(self) -> Any:
        loop = asyncio.get_running_loop()
        self._guests.enter(opened=self._entered is not None or loop in self._open)
        if self._entered is not None:
            return self._entered
        if loop not in self._open:
            for other in [other for other in self._open if other.is_closed()]:
                del self._open[other]
            stack = AsyncExitStack()
            self._open[loop] = loop.create_task(stack.enter_async_context(self._create())), stack
        task = self._open[loop][0]
        try:
            # Whoever came first may be cancelled; those who wait for the same client must not be.
            return await asyncio.shield(task)
        except BaseException:
            failed = task.done() and (task.cancelled() or task.exception() is not None)
            if failed and (entry := self._open.get(loop)) is not None and entry[0] is task:
                del self._open[loop]
            raise

    async def aclose(self) -> None:
        """Close the running loop's client, unless it was given entered. What sweeps in the background ends
        before, and opens none after."""
        await self._guests.stop()
        entry = self._open.pop(asyncio.get_running_loop(), None)
        if entry is not None:
            making, stack = entry
            await asyncio.wait({making})  # or it would be entered after this, for nobody
            await stack.aclose()
