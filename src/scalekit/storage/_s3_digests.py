"""What goes along with a body to S3, computed outside the event loop.

Over plain HTTP the SHA-256 of a body is part of the request's signature, and the S3 client would compute it
in the event loop, where 8 MiB stop everything else for some milliseconds. It is made here in a worker thread,
with the checksum, and handed to the client by a signer of our own.
"""

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth

from scalekit.storage._shield import in_thread
from scalekit.storage._source import Body
from scalekit.storage.checksums import Checksum, hasher
from scalekit.storage.profiles import S3Profile

_SIGNER = "scalekit-s3v4"

# Below this the way to a thread and back takes longer than the work.
_WORTH_A_THREAD = 128 * 1024


@dataclass(frozen=True, slots=True)
class Digests:
    """The parameters that a request carries for its body, and the body's checksum if it has one."""

    parameters: dict[str, str]
    crc32: int | None

    @property
    def checksum(self) -> Checksum | None:
        return None if self.crc32 is None else Checksum("crc32", self.crc32.to_bytes(4, "big"))


async def digest(body: Body, profile: S3Profile, *, signed: bool) -> Digests:
    """The digests of ``body`` as ``profile`` wants them. ``signed``: the request's signature has one, too."""
    # What the signature has, the service checks; a second checksum would find nothing more.
    algorithm = None if signed and profile.checksum == "md5" else profile.checksum
    if algorithm is None and not signed:
        return Digests({}, None)
    if body.size < _WORTH_A_THREAD:
        return _digest(body, algorithm, signed)
    return (await in_thread(_digest, body, algorithm, signed)).unwrap()


def _digest(body: Body, algorithm: str | None, signed: bool) -> Digests:
    signature = hashlib.sha256() if signed else None
    own = hasher(algorithm) if algorithm is not None else None
    for chunk in body.chunks:  # both while the chunk is in the processor's cache
        if signature is not None:
            signature.update(chunk)
        if own is not None:
            own.update(chunk)
    if signature is not None:
        body.sha256 = signature.hexdigest()
    if algorithm is None or own is None:
        return Digests({}, None)
    value = own.digest()
    if algorithm == "crc32":
        return Digests({"ChecksumCRC32": b64encode(value).decode()}, int.from_bytes(value, "big"))
    return Digests({"ContentMD5": b64encode(value).decode()}, None)


def is_signed(client: Any) -> bool:
    """Whether ``client`` signs the bodies of its requests."""
    enabled = (client.meta.config.s3 or {}).get("payload_signing_enabled")
    return bool(enabled) if enabled is not None else client.meta.endpoint_url.startswith("http://")


def kept_crc32(answer: dict[str, Any]) -> Checksum | None:
    """The checksum that S3 keeps of a whole object, in its answer to a question for it."""
    # That of a multipart upload can be one over those of its parts, which says nothing of the content.
    value = answer.get("ChecksumCRC32")
    if value is None or answer.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT" or "-" in value:
        return None
    return Checksum.from_base64("crc32", value)


class _Signer(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    def payload(self, request: Any) -> str:
        known = request.body.sha256 if isinstance(request.body, Body) else None
        if known is None or not self._should_sha256_sign_payload(request):
            return str(super().payload(request))
        return known


AUTH_TYPE_MAPS[_SIGNER] = _Signer


def use_digests(client: Any) -> None:
    """Let ``client``, which is ours, sign bodies by the digests they have."""
    for operation in ("PutObject", "UploadPart"):
        client.meta.events.register_first(f"choose-signer.s3.{operation}", _choose)


def _choose(signature_version: Any, **_: Any) -> str | None:
    return _SIGNER if signature_version == "s3v4" else None
