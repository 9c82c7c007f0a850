"""What the pieces that talk to Amazon's services, and to what speaks like them, share."""

from typing import Any

import pytest

pytest.importorskip("aiobotocore")

from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError

from scalekit._amazon import CURES, describe, s3_client, translated
from scalekit.errors import (
    BackendTimeout,
    BackendUnavailable,
    ConfigurationError,
    ScalekitError,
    StorageError,
)

KEYS = {"region_name": "us-east-1", "aws_access_key_id": "key", "aws_secret_access_key": "secret"}


def answer(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


@pytest.mark.parametrize(
    ("raised", "expected", "said"),
    [
        (answer("NoSuchBucket", 404), StorageError, "S3 refused to store a: NoSuchBucket (here)"),
        (answer("SlowDown", 503), BackendUnavailable, "S3 failed to store a: SlowDown (here)"),
        (answer("TooManyRequests", 429), BackendUnavailable, "S3 failed to store a: TooManyRequests (here)"),
        (TimeoutError(), BackendTimeout, "S3 did not store a in time (here)"),
        (
            EndpointConnectionError(endpoint_url="https://key:hunter2@s3"),
            BackendUnavailable,
            "S3 cannot be reached to store a: EndpointConnectionError (here); is the endpoint right, and "
            "does the server run?",
        ),
    ],
)
def test_what_errors_become(raised: Exception, expected: type[ScalekitError], said: str) -> None:
    """What passes is told from what a repetition does not help, and the client's words are the cause only."""
    with (
        pytest.raises(expected) as caught,
        translated("store a", "here", cures=CURES, refused=StorageError),
    ):
        raise raised
    assert str(caught.value) == said
    assert caught.value.__cause__ is raised


def test_cures_of_what_has_no_own() -> None:
    """A refusal and a broken connection have a cure whatever their code is; an error of neither has none."""
    cures = {"403": "ask", "EndpointConnectionError": "look", "AccessDenied": "be allowed"}
    assert describe(answer("AccessDenied", 403), "here", cures) == "AccessDenied (here); be allowed"
    assert describe(answer("AllAccessDisabled", 403), "here", cures) == "AllAccessDisabled (here); ask"
    assert describe(HTTPClientError(error="reset"), "here", cures) == "HTTPClientError (here); look"
    assert describe(answer("Teapot", 418), "here", cures) == "Teapot (here)"


@pytest.mark.parametrize(
    ("environment", "options", "signed"),
    [
        ({}, {}, False),
        ({"AWS_ENDPOINT_URL": "http://minio:9000"}, {}, True),
        ({"AWS_ENDPOINT_URL_S3": "http://minio:9000"}, {"endpoint_url": "https://minio:9000"}, False),
        ({}, {"endpoint_url": "http://minio:9000"}, True),
    ],
)
async def test_bodies_are_signed_where_nothing_else_protects_them(
    environment: dict[str, str], options: dict[str, str], signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over plain HTTP, wherever the endpoint is named; over TLS they go unsigned."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with s3_client(**options, **KEYS) as client:
        assert client.meta.config.s3.get("payload_signing_enabled", True) is signed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"endpoint_url": "https://key:hunter2@"}, "endpoint_url= is no address"),
        ({"region_name": "nowhere at all"}, "correct the options, AWS_REGION"),
    ],
)
async def test_settings_that_could_never_work(options: dict[str, Any], said: str) -> None:
    """They are the reader's to correct, and what they hold stays out of the message."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        async with s3_client(**KEYS | options):
            pass
    assert "hunter2" not in str(caught.value)
