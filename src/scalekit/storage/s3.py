"""S3Storage: objects in a bucket of Amazon S3 or of a service that speaks like it.

The client is aiobotocore's, as aioboto3 makes it where that is installed, and is only ever called through its
plain methods. Checksums are ours, as :mod:`scalekit.storage.profiles` has them. Over TLS bodies travel
unsigned, the connection itself protects them.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from copy import copy
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote

try:
    import aiobotocore  # noqa: F401  the modules below need it
except ModuleNotFoundError:
    from scalekit.errors import MissingExtra

    raise MissingExtra("s3", needed_by="scalekit.storage.s3") from None

from scalekit._amazon import place
from scalekit._durations import Duration
from scalekit.errors import ConfigurationError, InvalidKey, ObjectMissing
from scalekit.metrics import Metric
from scalekit.storage._contract import check_base_url, check_sources
from scalekit.storage._counted import Counts, counted
from scalekit.storage._extensions import content_type_for
from scalekit.storage._s3_client import Clients, check_bucket, factory
from scalekit.storage._s3_compose import Composition, Copy, planned
from scalekit.storage._s3_errors import reading
from scalekit.storage._s3_multipart import MIN_PART_SIZE
from scalekit.storage._s3_reading import look_up, objects, read
from scalekit.storage._s3_signing import Signing
from scalekit.storage._s3_sweep import abandoned
from scalekit.storage._s3_target import Target
from scalekit.storage._s3_tickets import check_expires
from scalekit.storage._s3_upload import Upload
from scalekit.storage._values import Leftover, Opened, Source, Stored
from scalekit.storage.budget import UPLOADS, MemoryBudget
from scalekit.storage.checksums import Checksum
from scalekit.storage.keys import check_key, check_prefix, check_scope, filename_or_none
from scalekit.storage.profiles import S3Profile, profile_for

_MIB = 1024 * 1024
MAX_NAME_BYTES = 1024


class S3Storage(Signing):
    """Objects in ``bucket``, under keys that begin with ``prefix``.

    Region, credentials and endpoint come from the arguments or, as for every AWS tool, from the environment,
    the configuration files or the instance.

    Connections are made on first use, one pool for each event loop; ``await storage.aclose()`` closes them.

    Args:
        bucket: its name, or the ARN of an access point; it must exist.
        prefix: goes before every key, such as ``"photos/"``; ends with a slash. Keys outside it cannot be
            reached.
        base_url: where readers find the objects under ``prefix``, such as a CDN. Without it, :meth:`url`
            signs an address that is valid for ``url_expires``.
        url_expires: seconds or ``timedelta``, one hour by default, a week at most.
        part_size: bytes, 8 MiB by default; larger objects are sent in parts of this size.
        concurrency: parts of one upload in flight. One upload holds (concurrency + 1) x part_size at most.
        memory: what all uploads hold together at most; by default 256 MiB of all storages in the process. At
            the limit clients are asked for less, and nothing fails.
        stall_seconds: an upload that makes no progress for so long fails.
        profile: what the service understands, one of :mod:`scalekit.storage.profiles`; default: ``AMAZON``
            where the endpoint is Amazon's, else ``COMPATIBLE``.
        endpoint_url: another service than Amazon's. Its buckets are addressed by path.
        client: an aiobotocore S3 client, entered or not; the arguments below ``client`` are then not used.
        region_name, aws_access_key_id, aws_secret_access_key, aws_session_token: as for boto3.

    Raises:
        ConfigurationError: a part smaller than S3's 5 MiB, no concurrency, a bad ``base_url`` or
            ``endpoint_url``, a URL or a path for a bucket, or an AWS_PROFILE that is in no file.
        InvalidKey: a ``prefix`` that is none, or does not end with a slash.
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        base_url: str | None = None,
        url_expires: Duration = 3600,
        part_size: int = 8 * _MIB,
        concurrency: int = 4,
        memory: MemoryBudget = UPLOADS,
        stall_seconds: float = 30.0,
        profile: S3Profile | None = None,
        client: Any = None,
        endpoint_url: str | None = None,
        region_name: str | None = None,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        aws_session_token: str | None = None,
    ) -> None:
        if part_size < MIN_PART_SIZE:
            raise ConfigurationError(f"part_size={part_size}; S3 takes no parts below {MIN_PART_SIZE} bytes")
        if concurrency < 1:
            raise ConfigurationError(f"concurrency={concurrency}; give at least 1")
        self.bucket = check_bucket(bucket)
        self.prefix = check_scope(prefix) if prefix else prefix
        self.base_url = check_base_url(base_url)
        self.url_expires = check_expires(url_expires)
        self.part_size = part_size
        self.concurrency = concurrency
        self.memory = memory
        self.stall_seconds = stall_seconds
        self.profile = profile
        # Which server an entered client speaks to may be told by it alone.
        self._endpoint = (endpoint_url or "s3:") if client is None else None
        create = None
        if client is None:
            create = factory(
                endpoint_url=endpoint_url,
                region_name=region_name,
                aws_access_key_id=aws_access_key_id,
                aws_secret_access_key=aws_secret_access_key,
                aws_session_token=aws_session_token,
            )
        self._clients = Clients(client, create)
        self._is_part = False
        self._counts = Counts()

    def metrics(self) -> Iterator[Metric]:
        """What passed through this storage in this process, see :class:`scalekit.metrics.Measured`."""
        return self._counts.metrics()

    @counted
    async def put(
        self,
        key: str,
        source: Source,
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        size: int | None = None,
        checksum: Checksum | None = None,
        filename: str | None = None,
    ) -> Stored:
        target = await self.target(key, content_type, filename, overwrite)
        upload = Upload(
            target=target, part_size=self.part_size, concurrency=self.concurrency, memory=self.memory
        )
        return await upload.run(source, size, checksum)

    async def target(
        self,
        key: str,
        content_type: str | None,
        filename: str | None,
        overwrite: bool = False,
        **mark: str,
    ) -> Target:
        """A write to ``key``, for what is built on this. ``mark``: of a write that was begun elsewhere."""
        kind, name = content_type_for(check_key(key), content_type), self._name(key)
        client = await self._clients.get()
        return Target(
            client=client,
            profile=self.profile or profile_for(client.meta.endpoint_url),
            bucket=self.bucket,
            key=key,
            name=name,
            content_type=kind,
            filename=filename_or_none(filename),
            overwrite=overwrite,
            stall_seconds=self.stall_seconds,
            **mark,
        )

    @counted
    async def compose(
        self,
        key: str,
        sources: Sequence[str],
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        filename: str | None = None,
    ) -> Stored:
        check_sources(key, sources)
        target = await self.target(key, content_type, filename, overwrite)
        found = [await self._there(source) for source in sources]
        copies = planned(found, equal_parts=target.profile.equal_parts)
        if copies is None:
            return await super().compose(
                key, sources, content_type=content_type, overwrite=overwrite, filename=filename
            )
        return await self._composed(target, copies)

    @counted
    async def copy(
        self, source: str, key: str, *, overwrite: bool = False, etag: str | None = None
    ) -> Stored:
        check_sources(key, [source])
        there = await self._there(source)
        if etag not in (None, there.etag):
            raise ObjectMissing(source, changed=True)
        target = await self.target(key, there.content_type, there.filename, overwrite)
        copies = planned([there], equal_parts=target.profile.equal_parts)
        if copies is None:
            return await super().copy(source, key, overwrite=overwrite, etag=there.etag)
        return await self._composed(target, copies)

    async def _there(self, key: str) -> Stored:
        stored = await self.stat(key)
        if stored is None:
            raise ObjectMissing(key)
        return stored

    async def _composed(self, target: Target, copies: Sequence[Copy]) -> Stored:
        composition = Composition(target=target, copies=copies, name=self._name, concurrency=self.concurrency)
        return await composition.run()

    @counted
    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        name = self._name(key)
        return await read(await self._clients.get(), self.bucket, key, name, offset=offset, length=length)

    async def stat(self, key: str) -> Stored | None:
        name = self._name(key)
        return await look_up(await self._clients.get(), self.bucket, key, name)

    @counted
    async def delete(self, key: str) -> None:
        name = self._name(key)
        client = await self._clients.get()
        with reading(f"delete {key!r}", place(client, self.bucket)):
            await client.delete_object(Bucket=self.bucket, Key=name)

    async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        check_prefix(prefix)
        client = await self._clients.get()
        async with aclosing(objects(client, self.bucket, self.prefix, prefix)) as found:
            async for stored in found:
                yield stored

    @property
    def location(self) -> str | None:
        return None if self._endpoint is None else f"{self._endpoint}//{self.bucket}/{self.prefix}"

    async def leftovers(self, before: datetime, prefix: str = "") -> AsyncGenerator[Leftover, None]:
        client = await self._clients.get()
        uploads = abandoned(client, self.bucket, self.prefix, check_prefix(prefix), before)
        async with aclosing(uploads) as leftovers:
            async for leftover in leftovers:
                yield leftover

    def scoped(self, prefix: str) -> Self:
        """See :meth:`scalekit.storage.Storage.scoped`. It signs, and shares this storage's connections."""
        below = check_scope(prefix)
        part = copy(self)
        part.prefix = check_prefix(self.prefix + below)
        part.base_url = None if self.base_url is None else self.base_url + quote(below)
        part._is_part = True
        return part

    def _name(self, key: str) -> str:
        name = self.prefix + check_key(key)
        if (size := len(name.encode())) > MAX_NAME_BYTES:
            reason = f"has {size} bytes with the prefix {self.prefix!r:.40}, more than S3's {MAX_NAME_BYTES}"
            raise InvalidKey(key, reason)
        return name

    async def client(self) -> Any:
        """The S3 client of the running event loop, for what storages do not do. It stays this storage's."""
        return await self._clients.get()

    async def aclose(self) -> None:
        """Close connections, unless this is a part of another storage, whose they are. What sweeps in the
        background ends first."""
        if not self._is_part:
            await self._clients.aclose()
