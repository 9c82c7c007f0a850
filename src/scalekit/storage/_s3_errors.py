"""What S3 and its client say, in our words. The client's own error stays as the cause."""

from collections.abc import Generator
from contextlib import contextmanager

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from scalekit.errors import BackendTimeout, BackendUnavailable, StorageError, UploadFailed

CLIENT_ERRORS = (ClientError, BotoCoreError, aiohttp.ClientError, TimeoutError)
"""Everything by which a call to the client can fail, apart from a mistake of ours."""

_TIMEOUTS = (ConnectTimeoutError, ReadTimeoutError, TimeoutError)
_CONNECTION = (HTTPClientError, BotoConnectionError, ResponseStreamingError, aiohttp.ClientError)


def code_of(error: BaseException) -> str:
    """S3's error code, such as ``"NoSuchKey"``, or the name of the exception."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def status_of(error: BaseException) -> int:
    """The HTTP status of S3's answer; 0 where there was none."""
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 0


def is_conflict(error: BaseException) -> bool:
    """A conditional write was refused, because there is an object or another writer was at it."""
    return code_of(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412")


def may_have_worked(error: BaseException) -> bool:
    """Whether the error leaves open that the write was done: no answer, or one to a repetition."""
    return is_conflict(error) or code_of(error) == "NoSuchUpload" or status_of(error) in (0, *range(500, 600))


@contextmanager
def reading(what: str) -> Generator[None, None, None]:
    """Translate the errors of everything but uploads. ``what`` completes "S3 failed to ..."."""
    try:
        yield
    except _TIMEOUTS as error:
        raise BackendTimeout(f"S3 did not {what} in time", backend="s3") from error
    except _CONNECTION as error:
        raise BackendUnavailable(f"S3 cannot be reached to {what}: {code_of(error)}", backend="s3") from error
    except (ClientError, BotoCoreError) as error:
        if status_of(error) >= 500:
            raise BackendUnavailable(f"S3 failed to {what}: {code_of(error)}", backend="s3") from error
        raise StorageError(f"S3 refused to {what}: {code_of(error)}") from error


def upload_failed(key: str, error: BaseException) -> UploadFailed:
    """The error of an upload that S3 will not take. Credentials and URLs stay out of the message."""
    failed = UploadFailed(f"S3 did not store {key!r}: {code_of(error)}")
    failed.__cause__ = error
    return failed
