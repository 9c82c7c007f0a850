"""The address of an upload: signed, it says all that there is to know; no server needs to remember it."""

import base64
import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from scalekit._signing import signer
from scalekit.storage._tus_headers import metadata
from scalekit.storage.keys import clean_filename
from scalekit.types import SecretKey


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """What an address says.

    Args:
        id: 128 random bits in hexadecimal; of a final upload, a digest of those that it is made of.
        length: bytes in all; ``None`` if the client did not know.
        metadata: ``Upload-Metadata`` as it came.
        expires: in seconds since 1970.
        kind: ``"whole"``, ``"partial"`` or ``"final"``.
    """

    id: str
    length: int | None
    metadata: str
    expires: int
    kind: str

    @property
    def named(self) -> dict[str, str]:
        """The metadata, read."""
        return metadata(self.metadata)

    @property
    def filename(self) -> str:
        """What the client calls the file, for people to read."""
        return clean_filename(self.named.get("filename") or self.named.get("name", ""))

    @property
    def declared(self) -> str:
        """The media type that the client claims."""
        return (self.named.get("filetype") or self.named.get("type", ""))[:100]


def new_id() -> str:
    return secrets.token_hex(16)


def id_of(parts: Sequence[Upload]) -> str:
    """The id of what the ``parts`` make up: whoever asks for it twice means the same upload."""
    return hashlib.sha256(" ".join(part.id for part in parts).encode()).hexdigest()[:32]


class Addresses:
    """Writes and reads addresses.

    Args:
        secret_key: one or a ring, the last one signs.
        prefix: where the files go. An address for another place is none.
    """

    def __init__(self, secret_key: SecretKey, *, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._signer = signer(secret_key, salt="scalekit.storage.tus")

    def write(self, upload: Upload, user: str | None) -> str:
        """The last segment of the address. Only ``user`` can use it, who is not to be seen in it."""
        facts = [upload.id, upload.length, upload.metadata, upload.expires, upload.kind]
        payload = base64.urlsafe_b64encode(json.dumps(facts, separators=(",", ":")).encode()).rstrip(b"=")
        return f"{payload.decode()}.{self._signer.get_signature(self._signed(payload, user)).decode()}"

    def read(self, address: str, user: str | None) -> Upload | None:
        """What it says, or ``None`` if it was not written here for ``user``."""
        payload, _, signature = address.encode("ascii", "replace").rpartition(b".")
        if not self._signer.verify_signature(self._signed(payload, user), signature):
            return None
        id, length, given, expires, kind = json.loads(
            base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        )
        return Upload(id=id, length=length, metadata=given, expires=expires, kind=kind)

    def _signed(self, payload: bytes, user: str | None) -> bytes:
        # None of them has a zero byte in it, so that no two of these are one.
        signed = payload + b"\0" + self._prefix
        return signed if user is None else signed + b"\0" + user.encode()
