"""How clients are made: their settings, and what is said of those that are wrong."""

import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import botocore.session
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ProfileNotFound

from scalekit.errors import ConfigurationError

Create = Callable[..., AbstractAsyncContextManager[Any]]
"""``create_client`` of aiobotocore, or what stands for it: from a service's name to its client."""


def check_endpoint(url: str | None) -> None:
    """Refuse an endpoint without a scheme, which the client would refuse on first use.

    Raises:
        ConfigurationError: it has none. The message never quotes it.
    """
    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigurationError("endpoint_url= begins with http:// or https://")


@asynccontextmanager
async def client(
    service: str, *, connections: int = 128, tries: int = 3, create: Create | None = None, **options: Any
) -> AsyncGenerator[Any, None]:
    """An asynchronous client.

    Args:
        service: its name, such as ``"cloudfront"``.
        connections: so many at the most.
        tries: how often a request is sent at the most, while the service is not there or busy.
        create: what makes it, by default aiobotocore.
        options: boto3's. What is ``None`` is looked up as for every AWS tool. Those in ``config`` are
            merged with ours.

    Raises:
        ConfigurationError: there can be none by these options, or by what the environment says.
    """
    config = AioConfig(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": tries},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **options.pop("config", {}),
    )
    async with AsyncExitStack() as stack:
        with settings():  # only while it is made: what comes later is of requests
            make = create or get_session().create_client
            made = await stack.enter_async_context(make(service, config=config, **options))
        yield made


def s3_client(*, endpoint_url: str | None = None, **options: Any) -> AbstractAsyncContextManager[Any]:
    """:func:`client` of S3, or of what speaks like it at ``endpoint_url``, where buckets are in the path."""
    named = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    s3: dict[str, Any] = {"addressing_style": "path" if endpoint_url else "auto"}
    if not named.startswith("http://"):
        s3["payload_signing_enabled"] = False  # TLS protects it already
    config = {"signature_version": "s3v4", "s3": s3}
    return client("s3", config=config, endpoint_url=endpoint_url, **options)


def sync_client(service: str, *, tries: int, **options: Any) -> Any:
    """A synchronous client, for any number of threads; raises as :func:`client` does."""
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=16,
        retries={"mode": "standard", "total_max_attempts": tries},
    )
    with settings():
        return botocore.session.get_session().create_client(service, config=config, **options)


@contextmanager
def settings() -> Generator[None, None, None]:
    """Translate what botocore says of arguments, variables and files, which names no key."""
    try:
        yield
    except ProfileNotFound as error:
        raise ConfigurationError(f"{error}; correct AWS_PROFILE, or add it to ~/.aws/config") from error
    except BotoCoreError as error:
        raise ConfigurationError(f"{error}; correct the options, AWS_REGION or ~/.aws/config") from error
    except ValueError:  # without the endpoint that it quotes, which may hold what it must not
        raise ConfigurationError("endpoint_url= is no address such as 'https://minio.example.com'") from None
