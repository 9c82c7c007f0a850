"""What a browser is allowed to upload in parts, and the signed token that says so."""

import base64
import json
from dataclasses import astuple, dataclass

from scalekit._signing import signer
from scalekit.types import SecretKey

MAX_PARTS = 10_000
MIN_PART_SIZE = 5 * 1024**2
_MIB = 1024**2


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """One upload.

    Args:
        id: 64 random bits in hexadecimal, by which its object is known again.
        key: where the object goes.
        size: bytes of the file.
        part_size: bytes of each part but the last.
        content_type: what the client claims, if that could be accepted.
        filename: what the client calls it, for people to read.
        upload_id: S3's name of the upload.
        expires: in seconds since 1970.
    """

    id: str
    key: str
    size: int
    part_size: int
    content_type: str
    filename: str
    upload_id: str
    expires: int

    @property
    def parts(self) -> int:
        return -(-self.size // self.part_size)

    @property
    def numbers(self) -> range:
        return range(1, self.parts + 1)

    def size_of(self, number: int) -> int:
        """Bytes of part ``number``, counted from 1. All but the last have one size, as some services want."""
        return min(self.part_size, self.size - (number - 1) * self.part_size)


def part_size_for(size: int, part_size: int) -> int:
    """``part_size``, or as much more as it takes to have no more parts than S3 does."""
    return max(part_size, -(-size // (MAX_PARTS * _MIB)) * _MIB)


class Tokens:
    """Writes and reads tokens.

    Args:
        secret_key: one or a ring, the last one signs.
        place: the bucket and the prefix under which the files go. A token for another place is none.
    """

    def __init__(self, secret_key: SecretKey, *, place: str) -> None:
        self._place = place.encode()
        self._signer = signer(secret_key, salt="scalekit.storage.direct")

    def write(self, grant: Grant, user: str | None) -> str:
        """A token that only ``user`` can use, who is not to be seen in it."""
        facts = json.dumps(astuple(grant), separators=(",", ":"), ensure_ascii=False)
        payload = base64.urlsafe_b64encode(facts.encode()).rstrip(b"=")
        return f"{payload.decode()}.{self._signer.get_signature(self._signed(payload, user)).decode()}"

    def read(self, token: str, user: str | None) -> Grant | None:
        """What it says, or ``None`` if it was not written here for ``user``."""
        payload, _, signature = token.encode("ascii", "replace").rpartition(b".")
        if not self._signer.verify_signature(self._signed(payload, user), signature):
            return None
        facts = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        return Grant(**dict(zip(Grant.__slots__, facts, strict=True)))

    def _signed(self, payload: bytes, user: str | None) -> bytes:
        # None of them has a zero byte in it, so that no two of these are one.
        signed = payload + b"\0" + self._place
        return signed if user is None else signed + b"\0" + user.encode()
