"""The clients of Amazon's services, and what their errors say. No other file of the piece makes a client."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

try:
    import aiobotocore  # noqa: F401  what follows needs it
except ModuleNotFoundError:
    from scalekit.errors import MissingExtra

    raise MissingExtra("s3", needed_by="what talks to Amazon's services") from None

import aiohttp
import botocore.session
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.signers import CloudFrontSigner

from scalekit.errors import ConfigurationError

__all__ = [
    "CLIENT_ERRORS", "CONNECTION", "CREDENTIALS", "NO_CREDENTIALS", "TIMEOUTS", "Clients", "CloudFrontSigner",
    "check_endpoint", "client", "code_of", "status_of", "sync_client",
]  # fmt: skip

CLIENT_ERRORS = (ClientError, BotoCoreError, aiohttp.ClientError, TimeoutError)
"""Everything by which a call to a client can fail, apart from a mistake of ours."""

TIMEOUTS = (ConnectTimeoutError, ReadTimeoutError, TimeoutError)
CONNECTION = (HTTPClientError, BotoConnectionError, aiohttp.ClientError)
CREDENTIALS = (NoCredentialsError, PartialCredentialsError)

NO_CREDENTIALS = "there are no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def check_endpoint(url: str | None) -> None:
    """Refuse an endpoint without a scheme, which the client would refuse on first use."""
    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigurationError("endpoint_url= begins with http:// or https://")


@asynccontextmanager
async def client(
    service: str, *, s3: dict[str, Any] | None = None, tries: int = 3, **options: Any
) -> AsyncGenerator[Any, None]:
    """An asynchronous client; ``options`` are those of boto3.

    Raises:
        ConfigurationError: there can be none by these options, or by what the environment says.
    """
    config = AioConfig(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=128,
        retries={"mode": "standard", "total_max_attempts": tries},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3=s3,
    )
    async with AsyncExitStack() as stack:
        with _set_up():
            made = await stack.enter_async_context(
                get_session().create_client(service, config=config, **options)
            )
        yield made


def sync_client(service: str, *, tries: int, **options: Any) -> Any:
    """A synchronous client, for any number of threads; raises as :func:`client` does."""
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=16,
        retries={"mode": "standard", "total_max_attempts": tries},
    )
    with _set_up():
        return botocore.session.get_session().create_client(service, config=config, **options)


@contextmanager
def _set_up() -> Generator[None, None, None]:
    try:
        yield
    except ProfileNotFound as error:
        raise ConfigurationError(f"{error}; correct AWS_PROFILE, or add it to ~/.aws/config") from error
    except BotoCoreError as error:
        raise ConfigurationError(f"{error}; correct the options, AWS_REGION or ~/.aws/config") from error
    except ValueError:  # without the endpoint that it quotes, which may hold what it must not
        raise ConfigurationError("endpoint_url= is no address such as 'https://minio.example.com'") from None


def code_of(error: BaseException) -> str:
    """The service's error code, such as ``"NoSuchBucket"``, or the name of the exception."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def status_of(error: BaseException) -> int:
    """The HTTP status of the answer; 0 where there was none."""
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 0


class Clients:
    """One asynchronous client for each event loop, made on first use.

    Args:
        given: an entered client, which its owner closes; ``None`` to make our own.
        create: makes a context manager that yields a client.
    """

    def __init__(self, given: Any, create: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._given, self._create = given, create
        self._open: dict[asyncio.AbstractEventLoop, tuple[asyncio.Task[Any], AsyncExitStack]] = {}

    async def get(self) -> Any:
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
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
        """Close the running loop's client, unless it was given."""
        entry = self._open.pop(asyncio.get_running_loop(), None)
        if entry is not None:
            making, stack = entry
            await asyncio.wait({making})  # or it would be entered after this, for nobody
            await stack.aclose()
