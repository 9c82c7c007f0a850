"""What Amazon's services and their clients say, in our words. The client's own error stays as the cause."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from scalekit.errors import BackendTimeout, BackendUnavailable, ScalekitError

CLIENT_ERRORS = (ClientError, BotoCoreError, aiohttp.ClientError, TimeoutError)
"""Everything by which a call to a client can fail, apart from a mistake of ours."""

TIMEOUTS = (ConnectTimeoutError, ReadTimeoutError, TimeoutError)
CONNECTION = (HTTPClientError, BotoConnectionError, ResponseStreamingError, aiohttp.ClientError)
CREDENTIALS = (NoCredentialsError, PartialCredentialsError)

CURES = {
    "EndpointConnectionError": "is the endpoint right, and does the server run?",
    "InvalidAccessKeyId": "these credentials are not of this server",
    "SignatureDoesNotMatch": "the secret is not the one of this access key; correct AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "these credentials are no longer valid; get new ones",
    "RequestTimeTooSkewed": "set this machine's clock",
}
"""What helps, by error code. Each piece has more, and names its own options."""

NO_CREDENTIALS = "there are no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def place(client: Any, bucket: str) -> str:
    """The bucket and its server, for messages: host and port, as the endpoint may hold credentials."""
    endpoint = urlsplit(str(client.meta.endpoint_url))
    port = f":{endpoint.port}" if endpoint.port else ""
    return f"bucket {bucket!r} at {endpoint.hostname}{port}"


def code_of(error: BaseException) -> str:
    """The service's error code, such as ``"NoSuchKey"``, or the name of the exception."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def status_of(error: BaseException) -> int:
    """The HTTP status of the answer; 0 where there was none."""
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 0


def describe(error: BaseException, where: str, cures: Mapping[str, str]) -> str:
    """The error code, where it happened, and the cure if it has a usual one.

    Args:
        where: see :func:`place`.
        cures: by code. That of ``403`` is for whatever is refused so and has no own, that of
            ``EndpointConnectionError`` for whatever breaks a connection.
    """
    code = code_of(error)
    cure = cures.get(code)
    if cure is None and status_of(error) == 403:
        cure = cures.get("403")
    if cure is None and isinstance(error, CONNECTION):
        cure = cures.get("EndpointConnectionError")
    return f"{code} ({where})" + (f"; {cure}" if cure else "")


@contextmanager
def translated(
    what: str, where: str, *, cures: Mapping[str, str], refused: Callable[[str], ScalekitError]
) -> Generator[None, None, None]:
    """Translate the errors of calls to S3.

    Args:
        what: completes "S3 failed to ...".
        where, cures: see :func:`describe`.
        refused: makes the error of what S3 will not do, whenever it is asked.
    """
    try:
        yield
    except TIMEOUTS as error:
        raise BackendTimeout(f"S3 did not {what} in time ({where})", backend="s3") from error
    except CONNECTION as error:
        raise BackendUnavailable(
            f"S3 cannot be reached to {what}: {describe(error, where, cures)}", backend="s3"
        ) from error
    except (ClientError, BotoCoreError) as error:
        message = f"to {what}: {describe(error, where, cures)}"
        if status_of(error) == 429 or status_of(error) >= 500:
            raise BackendUnavailable(f"S3 failed {message}", backend="s3") from error
        raise refused(f"S3 refused {message}") from error
