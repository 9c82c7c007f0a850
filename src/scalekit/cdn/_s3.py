"""The few things that are asked of S3 for assets: list, get, look at, put and delete, below one prefix.

Rules:

* No name leads out of the prefix: it is put before each one here, and nowhere else.
* Every body goes with its MD5, which S3 and all that speaks like it compare with what arrived.
* Times are the server's: those of objects, and "now" from the ``Date`` of its answers. Clocks of two machines
  are never compared.
"""

import hashlib
from base64 import b64encode
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from scalekit import _amazon
from scalekit._amazon import CLIENT_ERRORS, CREDENTIALS, NO_CREDENTIALS, code_of
from scalekit._s3_url import Place
from scalekit.errors import ConfigurationError, PushRefused

_SHA256 = "scalekit-sha256"

_REGION = "the bucket is in another region; add ?region_name= or set AWS_REGION"
_CURES = _amazon.CURES | {
    "NoSuchBucket": "make the bucket, or correct its name or ?endpoint_url=",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "BadDigest": "what arrived is not what was sent; push again",
    "EntityTooLarge": "S3 takes 5 GB in one request",
}
_RIGHTS = {
    "list": "s3:ListBucket for the bucket",
    "read": "s3:GetObject for what is below the prefix",
    "store": "s3:PutObject for what is below the prefix",
    "delete": "s3:DeleteObject for what is below the prefix",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An object: its length in bytes, its entity tag without quotes, and when it was written."""

    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Headers:
    """What is kept beside an object, and sent along with it."""

    content_type: str
    cache_control: str
    content_encoding: str | None = None
    sha256: str | None = None


class Bucket:
    """What is below the prefix of a :class:`~scalekit._s3_url.Place`; names are relative to it."""

    def __init__(self, place: Place, client: Any) -> None:
        self.place, self._client = place, client
        self._where = _amazon.place(client, place.bucket)

    async def listing(self, below: str = "") -> tuple[dict[str, Found], datetime]:
        """All objects whose names begin with ``below``, by name, and the server's time before the first."""
        found: dict[str, Found] = {}
        now: datetime | None = None
        more: dict[str, str] = {}
        with self._errors("list", f"what is below {self.place.prefix + below!r}"):
            while True:
                page = await self._client.list_objects_v2(
                    Bucket=self.place.bucket, Prefix=self.place.prefix + below, **more
                )
                now = now or _date(page)
                for entry in page.get("Contents", ()):
                    name = entry["Key"].removeprefix(self.place.prefix)
                    found[name] = Found(
                        size=entry["Size"], etag=entry["ETag"].strip('"'), modified=entry["LastModified"]
                    )
                if not page.get("IsTruncated"):
                    return found, now
                more = {"ContinuationToken": page["NextContinuationToken"]}

    async def get(self, name: str) -> bytes | None:
        """The content of an object; ``None`` when there is none."""
        with self._errors("read", repr(name)):
            try:
                answer = await self._client.get_object(**self._key(name))
                async with answer["Body"] as body:
                    content: bytes = await body.read()
            except CLIENT_ERRORS as error:
                if code_of(error) in ("NoSuchKey", "404"):
                    return None
                raise
        return content

    async def look(self, name: str) -> Headers | None:
        """What is kept beside an object; ``None`` when there is none."""
        with self._errors("read", repr(name)):
            try:
                answer = await self._client.head_object(**self._key(name))
            except CLIENT_ERRORS as error:
                if code_of(error) in ("NoSuchKey", "404", "NotFound"):
                    return None
                raise
        return Headers(
            content_type=answer.get("ContentType", ""),
            cache_control=answer.get("CacheControl", ""),
            content_encoding=answer.get("ContentEncoding"),
            sha256=answer.get("Metadata", {}).get(_SHA256),
        )

    async def put(self, name: str, body: bytes, md5: bytes, headers: Headers) -> None:
        """Store an object, whole or not at all."""
        more: dict[str, Any] = {}
        if headers.content_encoding is not None:
            more["ContentEncoding"] = headers.content_encoding
        if headers.sha256 is not None:
            more["Metadata"] = {_SHA256: headers.sha256}
        with self._errors("store", repr(name)):
            await self._client.put_object(
                **self._key(name),
                Body=body,
                ContentMD5=b64encode(md5).decode(),
                ContentType=headers.content_type,
                CacheControl=headers.cache_control,
                **more,
            )

    async def put_record(self, name: str, body: bytes) -> None:
        """Store JSON that is about the release, and that no cache is to keep."""
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        await self.put(name, body, md5, Headers(content_type="application/json", cache_control="no-cache"))

    async def delete(self, name: str) -> None:
        """Remove an object, if there is one."""
        with self._errors("delete", repr(name)):
            await self._client.delete_object(**self._key(name))

    def _key(self, name: str) -> dict[str, str]:
        return {"Bucket": self.place.bucket, "Key": self.place.prefix + name}

    @contextmanager
    def _errors(self, what: str, of: str) -> Generator[None, None, None]:
        rights = f"these credentials need {_RIGHTS[what]}"
        cures = _CURES | {"AccessDenied": rights, "403": rights}
        with _amazon.translated(f"{what} {of}", self._where, cures=cures, refused=PushRefused):
            try:
                yield
            except CREDENTIALS as error:
                raise ConfigurationError(NO_CREDENTIALS) from error


@asynccontextmanager
async def opened(place: Place, given: Any = None) -> AsyncGenerator[Bucket, None]:
    """The bucket of ``place``, by a client that was given entered, or one of our own."""
    if given is not None:
        yield Bucket(place, given)
        return
    async with _amazon.s3_client(**place.options) as made:
        yield Bucket(place, made)


def _date(answer: Mapping[str, Any]) -> datetime:
    text = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return datetime.now(UTC) if text is None else parsedate_to_datetime(text).astimezone(UTC)
