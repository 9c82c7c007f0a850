"""What S3 says to a storage, in our words, with the cures. The client's own error stays as the cause."""

from contextlib import AbstractContextManager

from scalekit import _amazon
from scalekit._amazon import code_of, status_of
from scalekit.errors import StorageError, UploadFailed

_NO_BUCKET = "make the bucket, or correct its name or endpoint_url="

_CURES = _amazon.CURES | {
    "NoSuchBucket": _NO_BUCKET,
    # To HEAD there is no reason, only a status; an object that is not there never comes to this.
    "404": _NO_BUCKET,
    "403": "are the credentials right, and does its policy let them do that?",
    "PermanentRedirect": "the bucket is in another region; correct region_name=",
    "EndpointConnectionError": "is endpoint_url= right, and does the server run?",
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or pass aws_access_key_id= and "
    "aws_secret_access_key=",
    "SignatureDoesNotMatch": "the secret is not the one of this access key; correct AWS_SECRET_ACCESS_KEY or "
    "aws_secret_access_key=",
    "AccessDenied": "its policy does not let these credentials do that",
}


def is_refused(error: BaseException) -> bool:
    """A conditional write was refused, because there is an object."""
    return code_of(error) in ("PreconditionFailed", "412")


def is_conflict(error: BaseException) -> bool:
    """A conditional write was refused, because there is an object or another writer was at it."""
    return is_refused(error) or code_of(error) == "ConditionalRequestConflict"


def may_have_worked(error: BaseException) -> bool:
    """Whether the error leaves open that the write was done: no answer, or one to a repetition."""
    return is_conflict(error) or code_of(error) == "NoSuchUpload" or status_of(error) in (0, *range(500, 600))


def reading(what: str, where: str) -> AbstractContextManager[None]:
    """Translate the errors of everything but uploads. ``what`` completes "S3 failed to ..."; ``where`` is
    :func:`scalekit._amazon.place`.
    """
    return _amazon.translated(what, where, cures=_CURES, refused=StorageError)


def upload_failed(key: str, error: BaseException, where: str) -> UploadFailed:
    """The error of an upload that S3 will not take. Credentials and URLs stay out of the message."""
    failed = UploadFailed(f"S3 did not store {key!r}: {_amazon.describe(error, where, _CURES)}")
    failed.__cause__ = error
    return failed
