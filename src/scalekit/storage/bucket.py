"""What a bucket's settings should be for the uploads that go there, and what they are.

``await examine(storage, origins=["https://shop.example"])`` reads the settings and changes none.
"""

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import urlsplit

try:
    from botocore.exceptions import ClientError
except ModuleNotFoundError:
    from scalekit.errors import MissingExtra

    raise MissingExtra("s3", needed_by="scalekit.storage.bucket") from None

from scalekit._amazon import code_of, place
from scalekit.errors import ConfigurationError
from scalekit.storage._s3_errors import reading
from scalekit.storage.direct import cors_rule
from scalekit.storage.profiles import AMAZON, profile_for
from scalekit.storage.s3 import S3Storage

ABORT_DAYS = 7
"""Days after which S3 itself aborts an upload that nobody completed. A sweep does it after one."""

_METHODS = ("PUT", "POST")
_HEADERS = ("content-type", "content-md5", "if-none-match", "x-amz-checksum-crc32")
_ABSENT = ("NoSuchLifecycleConfiguration", "NoSuchCORSConfiguration")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something in a bucket's settings that costs money, or makes uploads fail.

    Args:
        about: the uploads that nobody completes (``"abort"``), those of pages (``"cors"``), or settings that
            cannot be read (``"unknown"``).
        problem: what is wrong.
        cure: what to do; for settings the command of AWS's tool that sets them, with those that are there.
    """

    about: Literal["abort", "cors", "unknown"]
    problem: str
    cure: str


def lifecycle_rule(prefix: str) -> dict[str, Any]:
    """The rule by which S3 removes the parts of uploads below ``prefix`` that nobody completes."""
    return {
        "ID": f"scalekit-abort-{prefix.rstrip('/') or 'all'}",
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_DAYS},
    }


async def examine(storage: S3Storage, *, origins: Sequence[str] = ()) -> list[Finding]:
    """What is missing in the settings of the storage's bucket; an empty list if nothing is.

    Args:
        origins: of the pages that upload straight to the bucket, such as ``"https://shop.example"``.

    Raises:
        ConfigurationError: an origin with a path, or without a scheme.
        StorageError, BackendError: the bucket is not there, or cannot be reached.
    """
    for origin in origins:
        scheme, _, host = origin.partition("://")
        if scheme not in ("https", "http") or not host or set(host) & set("/?#"):
            raise ConfigurationError(f"origin {origin!r}; give a scheme and a host, as https://shop.example")
    client = await storage.client()
    with reading("look at the bucket", place(client, storage.bucket)):
        await client.head_bucket(Bucket=storage.bucket)
    found = await _lifecycle(client, storage.bucket, storage.prefix)
    return found + (await _cors(client, storage.bucket, origins) if origins else [])


async def _lifecycle(client: Any, bucket: str, prefix: str) -> list[Finding]:
    rules = await _rules(client.get_bucket_lifecycle_configuration(Bucket=bucket), "Rules")
    if isinstance(rules, Finding):
        return [rules]
    if any(_aborts(rule, prefix) for rule in rules):
        return []
    return [
        Finding(
            about="abort",
            problem=f"no rule of bucket {bucket!r} aborts uploads below {prefix!r} that nobody completes; "
            "their parts are invisible and paid for",
            cure=_command(client, "lifecycle", bucket, {"Rules": [*rules, lifecycle_rule(prefix)]}),
        )
    ]


def _aborts(rule: dict[str, Any], prefix: str) -> bool:
    condition = rule.get("Filter") or {"Prefix": rule.get("Prefix", "")}
    return (
        rule.get("Status") == "Enabled"
        and "AbortIncompleteMultipartUpload" in rule
        and not set(condition) - {"Prefix"}
        and prefix.startswith(condition.get("Prefix") or "")
    )


async def _cors(client: Any, bucket: str, origins: Sequence[str]) -> list[Finding]:
    rules = await _rules(client.get_bucket_cors(Bucket=bucket), "CORSRules")
    if isinstance(rules, Finding):
        return [rules]
    missing = [
        f"{origin} may not {method}" if rule is None else f"{origin} does not see ETag"
        for origin in origins
        for method in _METHODS
        if (rule := _first(rules, origin, method)) is None or (method == "PUT" and not _shows_etag(rule))
    ]
    if not missing:
        return []
    setting = {"CORSRules": [cors_rule(origins), *rules]}
    return [
        Finding(
            about="cors",
            problem=f"pages cannot upload straight to bucket {bucket!r}: {', '.join(missing)}",
            cure=_command(client, "cors", bucket, setting),
        )
    ]


def _first(rules: Iterable[dict[str, Any]], origin: str, method: str) -> dict[str, Any] | None:
    """The rule that S3 takes for such a request."""
    for rule in rules:
        if (
            any(fnmatchcase(origin, pattern) for pattern in rule.get("AllowedOrigins", ()))
            and method in rule.get("AllowedMethods", ())
            and all(_allows(rule, header) for header in (_HEADERS if method == "PUT" else ()))
        ):
            return rule
    return None


def _allows(rule: dict[str, Any], header: str) -> bool:
    return any(fnmatchcase(header, pattern.lower()) for pattern in rule.get("AllowedHeaders", ()))


def _shows_etag(rule: dict[str, Any]) -> bool:
    return "etag" in {name.lower() for name in rule.get("ExposeHeaders", ())}


async def _rules(asked: Any, name: str) -> list[dict[str, Any]] | Finding:
    try:
        rules: list[dict[str, Any]] = (await asked)[name]
    except ClientError as error:
        if code_of(error) in _ABSENT:
            return []
        return Finding(
            about="unknown",
            problem=f"the settings cannot be read: {code_of(error)}",
            cure="ask whoever owns the bucket for s3:GetLifecycleConfiguration and s3:GetBucketCORS",
        )
    return rules


def _command(client: Any, what: str, bucket: str, setting: dict[str, Any]) -> str:
    kind = "lifecycle-configuration" if what == "lifecycle" else what
    # Rules of others may hold dates, and quotation marks that a shell would obey.
    value = shlex.quote(json.dumps(setting, default=datetime.isoformat))
    server = server_option(client.meta.endpoint_url)
    return (
        f"aws s3api put-bucket-{kind} --bucket {shlex.quote(bucket)}{server} --{what}-configuration {value}"
    )


def server_option(endpoint: str) -> str:
    """The option that sends AWS's tool to ``endpoint``, without its password; none if it is Amazon's."""
    if profile_for(endpoint) is AMAZON:
        return ""
    parts = urlsplit(endpoint)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return f" --endpoint-url {shlex.quote(bare.geturl())}"
