"""What an S3Storage says of settings that could never work."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from scalekit.errors import ConfigurationError, InvalidKey
from scalekit.storage.s3 import S3Storage


@pytest.mark.parametrize(
    ("bucket", "cure"),
    [
        ("", "give the bucket's name"),
        ("s3://media", "write bucket='media'"),
        ("s3://media/photos", "write bucket='media', prefix='photos/'"),
        ("media/photos/2026/", "write bucket='media', prefix='photos/2026/'"),
        ("https://media.s3.amazonaws.com", "give the bucket's name"),
        ("my media", "give the bucket's name"),
        (None, "give the bucket's name"),
    ],
)
def test_a_bucket_is_given_by_its_name(bucket: Any, cure: str) -> None:
    """A URL or a path for a bucket is an error at start-up that says how to write it."""
    with pytest.raises(ConfigurationError, match=re.escape(cure)) as caught:
        S3Storage(bucket)
    assert f"bucket={bucket!r}" in str(caught.value)


def test_a_prefix_ends_with_a_slash() -> None:
    """Without it the storage would list and sweep what is below ``photos2/`` as well."""
    with pytest.raises(InvalidKey, match="'photos': does not end with a slash"):
        S3Storage("media", prefix="photos")
    assert S3Storage("media", prefix="photos/").prefix == "photos/"
    assert S3Storage("media").prefix == ""


def test_an_access_point_is_a_bucket() -> None:
    """The name of an access point, with its colons and slash, is taken as any AWS tool takes it."""
    point = "arn:aws:s3:eu-west-1:123456789012:accesspoint/shop"
    assert S3Storage(point, region_name="eu-west-1").bucket == point


@pytest.mark.parametrize("early", [True, False], ids=["aioboto3", "aiobotocore"])
async def test_a_profile_that_is_not_there(
    early: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A mistyped AWS_PROFILE is a mistake in the settings which is told by its name, with either client."""
    if not early:
        monkeypatch.setitem(sys.modules, "aioboto3", None)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "shpo")
    with pytest.raises(ConfigurationError, match=r"\(shpo\).*; correct AWS_PROFILE"):
        async with S3Storage("media") as storage:
            await storage.stat("a.bin")


async def test_half_of_the_credentials() -> None:
    """A key without its secret is told, with what is missing and without the key."""
    with pytest.raises(ConfigurationError, match="aws_secret_access_key") as caught:
        async with S3Storage("media", aws_access_key_id="AKIAEXAMPLE") as storage:
            await storage.stat("a.bin")
    assert "AKIAEXAMPLE" not in str(caught.value)
