"""What S3 and its client say, in our words. The client's own error stays as the cause."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

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


_NO_BUCKET = "make the bucket, or correct its name or endpoint_url="

_CURES = {
    "NoSuchBucket": _NO_BUCKET,
    # To HEAD there is no reason, only a status; an object that is not there never comes to this.
    "404": _NO_BUCKET,
    "403": "are the credentials right, and does its policy let them do that?",
    "PermanentRedirect": "the bucket is in another region; correct region_name=",
    "EndpointConnectionError": "is endpoint_url= right, and does the server run?",
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass aws_access_key_id= and "
    "aws_secret_access_key=",
    "InvalidAccessKeyId": "these credentials are not of this server",
    "SignatureDoesNotMatch": "the secret is not the one of this access key; correct AWS_SECRET_ACCESS_KEY or "
    "aws_secret_access_key=",
    "ExpiredToken": "these credentials are no longer valid; get new ones",
    "RequestTimeTooSkewed": "set this machine's clock",
    "AccessDenied": "its policy does not let these credentials do that",
}


def place(client: Any, bucket: str) -> str:
    """The bucket and its server, for messages: host and port, as the endpoint may hold credentials."""
    endpoint = urlsplit(str(client.meta.endpoint_url))
    port = f":{endpoint.port}" if endpoint.port else ""
    return f"bucket {bucket!r} at {endpoint.hostname}{port}"


def describe(error: BaseException, where: str) -> str:
    """S3's error code, where it happened, and the cure if it has a usual one."""
    code = code_of(error)
    cure = f"; {_CURES[code]}" if code in _CURES else ""
    return f"{code} ({where}){cure}"


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


def is_refused(error: BaseException) -> bool:
    """A conditional write was refused, because there is an object."""
    return code_of(error) in ("PreconditionFailed", "412")


def is_conflict(error: BaseException) -> bool:
    """A conditional write was refused, because there is an object or another writer was at it."""
    return is_refused(error) or code_of(error) == "ConditionalRequestConflict"


def may_have_worked(error: BaseException) -> bool:
    """Whether the error leaves open that the write was done: no answer, or one to a repetition."""
    return is_conflict(error) or code_of(error) == "NoSuchUpload" or status_of(error) in (0, *range(500, 600))


@contextmanager
def reading(what: str, where: str) -> Generator[None, None, None]:
    """Translate the errors of everything but uploads. ``what`` completes "S3 failed to ..."; see `place`."""
    try:
        yield
    except _TIMEOUTS as error:
        raise BackendTimeout(f"S3 did not {what} in time ({where})", backend="s3") from error
    except _CONNECTION as error:
        raise BackendUnavailable(
            f"S3 cannot be reached to {what}: {describe(error, where)}", backend="s3"
        ) from error
    except (ClientError, BotoCoreError) as error:
        if status_of(error) >= 500:
            raise BackendUnavailable(
                f"S3 failed to {what}: {describe(error, where)}", backend="s3"
            ) from error
        raise StorageError(f"S3 refused to {what}: {describe(error, where)}") from error


def upload_failed(key: str, error: BaseException, where: str) -> UploadFailed:
    """The error of an upload that S3 will not take. Credentials and URLs stay out of the message."""
    failed = UploadFailed(f"S3 did not store {key!r}: {describe(error, where)}")
    failed.__cause__ = error
    return failed
