"""Storages by URL."""

import pytest

from scalekit.errors import ConfigurationError, InvalidKey
from scalekit.storage import FileStorage
from scalekit.storage.profiles import R2
from scalekit.storage.urls import storage_from_url


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("/srv/media", "/srv/media"),
        ("/srv/media/", "/srv/media"),
        ("file:///srv/my%20media", "/srv/my media"),
        ("file:/srv/media", "/srv/media"),
        ("file://localhost/srv/media", "/srv/media"),
        ("/srv/100%25", "/srv/100%25"),
    ],
)
def test_folders(url: str, directory: str) -> None:
    """25. A path is taken as it is, a URL is decoded."""
    storage = storage_from_url(url)
    assert isinstance(storage, FileStorage)
    assert str(storage.directory) == directory


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://media", "media", ""),
        ("s3://media/", "media", ""),
        ("s3://media/photos", "media", "photos/"),
        ("s3://media/photos/2024/", "media", "photos/2024/"),
        ("s3://media/a%20b", "media", "a b/"),
    ],
)
def test_buckets(url: str, bucket: str, prefix: str) -> None:
    """25. A prefix means what is below it, with a slash at its end or without."""
    from scalekit.storage.s3 import S3Storage

    storage = storage_from_url(url)
    assert isinstance(storage, S3Storage)
    assert (storage.bucket, storage.prefix) == (bucket, prefix)


def test_options() -> None:
    """25. Another server and the size of parts are options; two servers have two places."""
    from scalekit.storage.s3 import S3Storage

    storage = storage_from_url(
        "s3://media/a?endpoint_url=https://minio.example.com:9000&part_size=16777216&profile=R2"
    )
    assert isinstance(storage, S3Storage)
    assert storage.part_size == 16 * 1024 * 1024
    assert storage.profile is R2
    assert storage.location == "https://minio.example.com:9000//media/a/"
    assert storage_from_url("s3://media/a").location == "s3://media/a/"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "an empty text names no storage"),
        ("gs://media", "no storage has URLs that begin with gs://; give a folder"),
        ("file://server/share", "is no folder of this server; write it as file:///srv/media"),
        ("s3:/media/photos", "write it as s3://bucket/prefix"),
        ("S3:media", "write it as s3://bucket/prefix"),
        ("file:media", "write it as file:///srv/media"),
        ("s3:///photos", "an s3:// URL is s3://bucket or s3://bucket/prefix"),
        ("s3://media:9000/photos", "goes into \\?endpoint_url="),
        ("s3://media?part_size=big", "part_size=big is no whole number"),
        ("s3://media?profile=azure", "profile=azure is none of amazon, compatible, minio"),
        ("s3://media?part_size=1", "part_size=1; S3 takes no parts below"),
        ("s3://media?endpoint=x", "has no option endpoint; it takes endpoint_url, "),
    ],
)
def test_what_is_none(url: str, said: str) -> None:
    """25. What is wrong is said with its cure."""
    with pytest.raises(ConfigurationError, match=said):
        storage_from_url(url)


@pytest.mark.parametrize(
    "url",
    ["s3://AKIAEXAMPLE:hunter2@media/photos", "s3://media?aws_secret_access_key=hunter2"],
)
def test_no_credentials_in_a_url(url: str) -> None:
    """25. They are refused, with where they belong, and not repeated."""
    with pytest.raises(ConfigurationError, match="AWS_PROFILE") as caught:
        storage_from_url(url)
    assert "hunter2" not in str(caught.value)


def test_a_prefix_that_is_none() -> None:
    """25. A prefix no key could begin with is refused."""
    with pytest.raises(InvalidKey):
        storage_from_url("s3://media/../other")
