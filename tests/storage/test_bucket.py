"""What a bucket's settings should be, on a real S3 server."""

import asyncio
import json
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scalekit.errors import ConfigurationError, StorageError
from scalekit.storage.bucket import Finding, examine, lifecycle_rule, server_option
from scalekit.storage.direct import cors_rule
from scalekit.storage.s3 import S3Storage
from tests.cli.command import scalekit
from tests.storage.helpers import on_strict_s3

SHOP = "https://shop.example"
OTHER = {"ID": "mine", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}


@pytest.fixture
async def media(s3_server: Any, bucket: str) -> Any:
    async with S3Storage(bucket, prefix="photos/", **s3_server.client_kwargs) as storage:
        yield storage


async def cure(client: Any, finding: Finding) -> None:
    """Do what the command would."""
    words = shlex.split(finding.cure)
    assert words[:2] == ["aws", "s3api"]
    setting = json.loads(words[-1])
    if words[2] == "put-bucket-cors":
        await client.put_bucket_cors(Bucket=words[4], CORSConfiguration=setting)
    else:
        await client.put_bucket_lifecycle_configuration(Bucket=words[4], LifecycleConfiguration=setting)


async def test_what_is_missing_and_how_to_set_it(media: S3Storage, s3_client: Any) -> None:
    """7. A bucket without rules is found out; what the cures set is right, and keeps what is there."""
    await s3_client.put_bucket_lifecycle_configuration(
        Bucket=media.bucket, LifecycleConfiguration={"Rules": [OTHER]}
    )
    aborting, pages = await examine(media, origins=[SHOP])
    assert "aborts uploads below 'photos/'" in aborting.problem
    assert f"{SHOP} may not PUT" in pages.problem
    for finding in (aborting, pages):
        await cure(s3_client, finding)
    assert await examine(media, origins=[SHOP]) == []
    rules = (await s3_client.get_bucket_lifecycle_configuration(Bucket=media.bucket))["Rules"]
    assert [rule["ID"] for rule in rules] == ["mine", "scalekit-abort-photos"]


async def test_rules_with_dates_and_apostrophes(media: S3Storage, s3_client: Any) -> None:
    """7. What others have set is kept by the cure, whatever is in it; the shell reads it as one word."""
    date = datetime(2030, 1, 1, tzinfo=UTC)
    theirs = OTHER | {"ID": "mother's; true", "Expiration": {"Date": date}}
    await s3_client.put_bucket_lifecycle_configuration(
        Bucket=media.bucket, LifecycleConfiguration={"Rules": [theirs]}
    )
    [finding] = await examine(media)
    await cure(s3_client, finding)
    assert await examine(media) == []
    kept = (await s3_client.get_bucket_lifecycle_configuration(Bucket=media.bucket))["Rules"][0]
    assert (kept["ID"], kept["Expiration"]) == ("mother's; true", {"Date": date})


@pytest.mark.parametrize(
    ("rule", "covers"),
    [
        (lifecycle_rule("photos/"), True),
        (lifecycle_rule(""), True),
        (lifecycle_rule("pho"), True),
        (lifecycle_rule("photos/2024/"), False),
        (lifecycle_rule("videos/"), False),
        (lifecycle_rule("photos/") | {"Status": "Disabled"}, False),
        (lifecycle_rule("photos/") | {"Filter": {"Tag": {"Key": "a", "Value": "b"}}}, False),
        (OTHER, False),
    ],
)
async def test_rules_that_abort(media: S3Storage, s3_client: Any, rule: dict[str, Any], covers: bool) -> None:
    """7. Only a rule that is in force, for all that is below the prefix, counts."""
    setting = {"Rules": [rule]}
    await s3_client.put_bucket_lifecycle_configuration(Bucket=media.bucket, LifecycleConfiguration=setting)
    assert (await examine(media) == []) is covers


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"AllowedOrigins": ["https://*.example"]}, None),
        ({"AllowedOrigins": ["*"]}, None),
        ({"AllowedOrigins": ["http://shop.example"]}, "may not PUT"),
        ({"AllowedMethods": ["GET", "PUT"]}, "may not POST"),
        ({"AllowedHeaders": ["content-type"]}, "may not PUT"),
        ({"AllowedHeaders": ["Content-*", "x-amz-*", "If-None-Match"]}, None),
        ({"ExposeHeaders": []}, "does not see ETag"),
    ],
)
async def test_rules_for_pages(
    media: S3Storage, s3_client: Any, change: dict[str, Any], problem: str | None
) -> None:
    """A page may only upload where S3 lets its origin send what the tickets ask for, and read the ETag."""
    await s3_client.put_bucket_lifecycle_configuration(
        Bucket=media.bucket, LifecycleConfiguration={"Rules": [lifecycle_rule("")]}
    )
    setting = {"CORSRules": [cors_rule([SHOP]) | change]}
    await s3_client.put_bucket_cors(Bucket=media.bucket, CORSConfiguration=setting)
    found = await examine(media, origins=[SHOP])
    assert [problem in finding.problem for finding in found] == ([True] if problem else [])  # type: ignore[operator]


async def test_mistakes(media: S3Storage, s3_server: Any) -> None:
    """An origin that is none, and a bucket that is not there, are clear errors."""
    for origin in ("shop.example", "https://shop.example/cart", "ftp://shop.example", "https://"):
        with pytest.raises(ConfigurationError, match="origin"):
            await examine(media, origins=[origin])
    async with S3Storage("nowhere", **s3_server.client_kwargs) as nowhere:
        with pytest.raises(StorageError, match=r"'nowhere' .*; make the bucket, or correct its name"):
            await examine(nowhere)


@on_strict_s3  # LocalStack takes any key
async def test_wrong_credentials(media: S3Storage, s3_server: Any) -> None:
    """S3 gives no reason when it is asked by HEAD; the message says where to look for it."""
    wrong = s3_server.client_kwargs | {"aws_secret_access_key": "guessed"}
    async with S3Storage(media.bucket, **wrong) as storage:
        with pytest.raises(StorageError, match=r"403 .*; are the credentials right"):
            await examine(storage)


async def test_the_cure_goes_to_the_same_server(media: S3Storage, s3_server: Any) -> None:
    """The commands name a server that is not Amazon's, or they would change a bucket of that name there."""
    for finding in await examine(media, origins=[SHOP]):
        words = shlex.split(finding.cure)
        assert words[words.index("--endpoint-url") + 1] == s3_server.endpoint_url


@pytest.mark.parametrize(
    ("endpoint", "option"),
    [
        ("https://s3.eu-west-1.amazonaws.com", ""),
        ("https://key:s3cret@minio.example.com:9000/", " --endpoint-url https://minio.example.com:9000/"),
    ],
)
def test_where_the_cure_goes(endpoint: str, option: str) -> None:
    """Amazon's own servers need no option; a password in an address stays out of it."""
    assert server_option(endpoint) == option


async def test_the_command(media: S3Storage, s3_server: Any, s3_client: Any) -> None:
    """`scalekit storage doctor` prints what is missing, to people and to programs, and ends with 1 then."""
    keys = s3_server.client_kwargs
    secrets = {name.upper(): keys[name] for name in ("aws_access_key_id", "aws_secret_access_key")}
    url = f"s3://{media.bucket}/photos?endpoint_url={keys['endpoint_url']}&region_name={keys['region_name']}"

    async def doctor(*options: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(scalekit, "storage", "doctor", url, *options, **secrets)

    status, output, errors = await doctor("--origin", SHOP)
    assert (status, "put-bucket-lifecycle-configuration" in output, "may not PUT" in errors) == (
        1,
        True,
        True,
    )
    status, output, errors = await doctor("--origin", SHOP, "--json")
    *findings, done = map(json.loads, output.splitlines())
    assert (status, len(findings), done) == (1, 2, {"done": True, "findings": 2})
    for finding in await examine(media, origins=[SHOP]):
        await cure(s3_client, finding)
    assert await doctor("--origin", SHOP) == (0, "nothing is missing\n", "")


def test_folders_have_no_settings(tmp_path: Path) -> None:
    """A folder is a mistake, which says what is wanted."""
    status, _, errors = scalekit("storage", "doctor", str(tmp_path))
    assert (status, "s3://" in errors) == (2, True)
