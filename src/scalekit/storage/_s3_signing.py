"""What S3Storage signs: addresses to read at, and permissions to upload."""

from abc import abstractmethod
from datetime import UTC, datetime, timedelta

from scalekit._amazon import place
from scalekit._durations import Duration
from scalekit.errors import ObjectExists
from scalekit.storage._contract import Storage
from scalekit.storage._disposition import content_disposition
from scalekit.storage._extensions import extension_for
from scalekit.storage._s3_client import Clients
from scalekit.storage._s3_errors import reading
from scalekit.storage._s3_tickets import PostTicket, PutTicket, check_expires, presign_post, presign_put
from scalekit.storage._values import SignedURL
from scalekit.storage.checksums import Checksum
from scalekit.storage.keys import check_key, random_key
from scalekit.storage.profiles import S3Profile, profile_for


class Signing(Storage):
    """The part of S3Storage that signs."""

    bucket: str
    url_expires: int
    profile: S3Profile | None
    _clients: Clients

    @abstractmethod
    def _name(self, key: str) -> str: ...

    async def url(self, key: str) -> str:
        return self.public_url(key) if self.base_url is not None else await self.presign_get(key)

    async def signed_url(self, key: str, *, filename: str | None = None) -> SignedURL | None:
        """See :meth:`scalekit.storage.Storage.signed_url`; ``None`` with a ``base_url``."""
        if self.base_url is not None:
            return None
        until = datetime.now(UTC) + timedelta(seconds=self.url_expires)
        return SignedURL(url=await self.presign_get(key, filename=filename), expires=until)

    async def presign_get(
        self, key: str, *, expires: Duration | None = None, filename: str | None = None
    ) -> str:
        """An address at which whoever has it can read ``key``, until it expires.

        Args:
            expires: seconds or ``timedelta``; default: the storage's ``url_expires``.
            filename: make browsers save the object under this name instead of showing it.
        """
        params = {"Bucket": self.bucket, "Key": self._name(key)}
        if filename is not None:
            params["ResponseContentDisposition"] = content_disposition("attachment", filename)
        lifetime = self.url_expires if expires is None else check_expires(expires)
        client = await self._clients.get()
        with reading(f"sign {key!r}", place(client, self.bucket)):
            return str(await client.generate_presigned_url("get_object", Params=params, ExpiresIn=lifetime))

    async def presign_post(
        self,
        *,
        max_size: int,
        content_type: str,
        min_size: int = 1,
        prefix: str = "",
        key: str | None = None,
        expires: Duration = 900,
    ) -> PostTicket:
        """Permission for a browser to upload one object straight to S3, see :mod:`scalekit.storage.direct`.

        Args:
            max_size, min_size: bytes; S3 refuses other sizes.
            content_type: exactly this type, or ``"image/*"`` for whatever *begins* like this. That lets types
                through that run scripts: then show the object from a domain of its own, or by
                :class:`scalekit.storage.serve.StorageFiles`.
            prefix: goes before the random key, such as ``"avatars/"``.
            key: this key instead of a random one. S3 overwrites what is there.
            expires: seconds or ``timedelta``; 15 minutes by default.
        """
        chosen = _chosen(key, prefix, content_type)
        client = await self._clients.get()
        with reading(f"sign {chosen!r}", place(client, self.bucket)):
            return await presign_post(
                client,
                bucket=self.bucket,
                name=self._name(chosen),
                key=chosen,
                content_type=content_type,
                min_size=min_size,
                max_size=max_size,
                expires=expires,
            )

    async def presign_put(
        self,
        *,
        size: int,
        content_type: str,
        prefix: str = "",
        key: str | None = None,
        checksum: Checksum | None = None,
        overwrite: bool = False,
        expires: Duration = 900,
    ) -> PutTicket:
        """Permission for a browser to upload one file of an exact size straight to S3.

        It must send exactly this many bytes with exactly the ticket's headers; all of it is signed.

        Args:
            size: bytes, as the browser says; compare it with your own limit first. 5 GiB at most.
            content_type: exactly this type.
            prefix, key, expires: as for :meth:`presign_post`.
            checksum: what the content must have: an MD5, or where the storage's profile says that the service
                knows them a CRC-32, SHA-1 or SHA-256.
            overwrite: replace what is there. By default S3 refuses the upload (412) if there is something by
                then; a service that cannot, by its profile, is asked now.

        Raises:
            ConfigurationError: what could never be sent, or a checksum that the service does not check.
            FileTooLarge: more than S3 takes in one request.
            ObjectExists: there is an object, and the service cannot refuse the upload itself.
        """
        chosen = _chosen(key, prefix, content_type)
        client = await self._clients.get()
        profile = self.profile or profile_for(client.meta.endpoint_url)
        if not overwrite and not profile.conditional_puts and await self.stat(chosen) is not None:
            raise ObjectExists(chosen)
        with reading(f"sign {chosen!r}", place(client, self.bucket)):
            return await presign_put(
                client,
                profile,
                bucket=self.bucket,
                name=self._name(chosen),
                key=chosen,
                size=size,
                content_type=content_type,
                checksum=checksum,
                overwrite=overwrite,
                expires=expires,
            )


def _chosen(key: str | None, prefix: str, content_type: str) -> str:
    return random_key(extension_for(content_type), prefix=prefix) if key is None else check_key(key)
