"""Signatures under key rings."""

import hashlib
from binascii import b2a_base64

from itsdangerous import Signer

from scalekit._keys import key_ring as key_ring
from scalekit.types import SecretKey

_BLOCK = 64  # bytes that SHA-256 takes at a time
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def signer(secret_key: SecretKey, *, salt: str) -> Signer:
    """An HMAC-SHA256 signer over the ring. ``salt`` keeps one piece's signatures from passing in another."""
    return Signer(key_ring(secret_key), salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)


class Mac:
    """HMAC-SHA256 (RFC 2104) under one key, which is worked in once.

    The standard library's leaves that to OpenSSL, where taking a copy costs more than the signature.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK:
            key = hashlib.sha256(key).digest()
        key = key.ljust(_BLOCK, b"\0")
        self._inner, self._outer = (hashlib.sha256(bytes(byte ^ pad for byte in key)) for pad in (0x36, 0x5C))

    def __call__(self, data: bytes | memoryview) -> bytes:
        """The signature of ``data``, as URL-safe base64 without padding."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        return b2a_base64(outer.digest(), newline=False).translate(_URL_SAFE, b"=")


def macs(secret_key: SecretKey, *, salt: str) -> list[Mac]:
    """What :func:`signer` signs with, newest key first. itsdangerous derives the keys anew each time."""
    ring = signer(secret_key, salt=salt)
    return [Mac(ring.derive_key(key)) for key in reversed(ring.secret_keys)]
