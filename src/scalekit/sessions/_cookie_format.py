"""A whole session as the value of a cookie: signed, or sealed.

* A signed one is MessagePack in base64, a dot, and its HMAC-SHA256 by the newest key of the ring. A sealed
  one (see ``_sealing``) is base64 alone. With sealing switched on, those that are only signed are still read.
* The keys are derived for this purpose and this name of a cookie: neither the token of a session in a store,
  nor a cookie of another name or of another library with the same secret, passes for one.
* Nothing is compressed: the length of a cookie would tell what a visitor's secrets have in common with what
  somebody else can make them store, and a small cookie could become a huge session.
"""

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

import msgspec

from scalekit._signing import macs
from scalekit.sessions.store import Loaded
from scalekit.types import SecretKey

if TYPE_CHECKING:
    from scalekit.sessions._sealing import Ring  # needs an extra

PURPOSE = "scalekit.sessions.cookie"

LIMIT = 4096
"""Bytes of a cookie with its name and attributes that every browser takes (RFC 6265, 6.1)."""


class _Payload(msgspec.Struct, array_like=True):
    id: bytes
    created: int  # ms since 1970
    lifetime: int  # ms from then
    seen: int  # ms from then
    user: bytes | None
    fields: dict[str, msgspec.Raw]
    origin: bytes | None = None  # unless it is the id


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Payload).decode


class Format:
    """Writes and reads the cookies of one key ring.

    Args:
        name: the cookie's name, without a prefix.
        secret_key: one secret or a key ring, oldest first: all verify, the last one signs.
        ring: seals instead, if it is given.

    Raises:
        ConfigurationError: the ring is empty, or a key is too short.
    """

    def __init__(self, name: str, *, secret_key: SecretKey, ring: "Ring | None") -> None:
        self._macs = macs(secret_key, salt=f"{PURPOSE}:{name}")
        self._ring = ring
        self._context = name.encode()

    def write(self, id: str, session: Loaded) -> str:
        """The value of the cookie for ``session``, known as ``id`` (hexadecimal digits, as its origin)."""
        data = _encode(
            _Payload(
                bytes.fromhex(id),
                session.created,
                session.deadline - session.created,
                session.seen - session.created,
                session.user,
                {name.decode(): msgspec.Raw(value) for name, value in session.fields.items()},
                bytes.fromhex(session.origin) if session.origin != id else None,
            )
        )
        if self._ring is not None:
            return _base64(self._ring.seal(data, self._context)).decode()
        text = _base64(data)
        return f"{text.decode()}.{self._macs[0](text).decode()}"

    def read(self, value: str) -> tuple[str, Loaded] | None:
        """The id and the session in a cookie's value; ``None`` if we did not write it."""
        # The length first: what somebody else made may be huge.
        if len(value) > LIMIT:
            return None
        try:
            payload = self._open(value.encode())
            content = None if payload is None else _decode(payload)
        except (binascii.Error, msgspec.DecodeError):
            return None
        if content is None:
            return None
        created = content.created
        fields = {name.encode(): bytes(raw) for name, raw in content.fields.items()}
        session = Loaded(
            fields,
            created,
            created + content.lifetime,
            created + content.seen,
            user=content.user,
            origin=(content.origin or content.id).hex(),
        )
        return content.id.hex(), session

    def _open(self, value: bytes) -> bytes | None:
        text, dot, given = value.partition(b".")
        if not dot:
            return self._unsealed(_bytes(text))
        for mac in self._macs:
            if hmac.compare_digest(mac(text), given):
                return _bytes(text)
        return None

    def _unsealed(self, data: bytes) -> bytes | None:
        if self._ring is None:
            return None
        from scalekit.sessions._sealing import Unsealed  # it is there, as the ring is

        try:
            return self._ring.open(data, self._context)
        except Unsealed:
            return None


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _bytes(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
