"""Key rings: one secret or several, checked once when a piece is set up."""

import hashlib
from binascii import b2a_base64
from collections.abc import Iterable

from itsdangerous import Signer

from scalekit.errors import ConfigurationError
from scalekit.types import SecretKey

_MIN_BYTES = 16

_BLOCK = 64  # bytes that SHA-256 takes at a time
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def key_ring(secret_key: SecretKey, *, option: str = "secret_key") -> list[bytes]:
    """``secret_key`` as a list of keys, oldest first; the last one signs, all of them verify.

    Args:
        secret_key: one secret or several.
        option: what it was given as, for messages.

    Raises:
        ConfigurationError: the ring is empty, or a key is no text or shorter than 16 bytes. Keys are not
            quoted.
    """
    if secret_key is None:
        raise ConfigurationError(f"{option} is None; is the variable set that it is read from?")
    if not isinstance(secret_key, Iterable):
        raise ConfigurationError(
            f"{option} must be str, bytes or a list of them, not {type(secret_key).__name__}"
        )
    if isinstance(secret_key, str | bytes):
        keys: list[str | bytes] = [secret_key]
        names = [option]
    else:
        keys = [*secret_key]
        names = [f"{option} number {position + 1}" for position in range(len(keys))]
    for name, key in zip(names, keys, strict=True):
        if not isinstance(key, str | bytes):
            raise ConfigurationError(f"{name} must be str or bytes, not {type(key).__name__}")
    ring = [key.encode() if isinstance(key, str) else key for key in keys]
    if not ring:
        raise ConfigurationError(f"{option} is an empty list; give at least one key")
    for name, key in zip(names, ring, strict=True):
        if len(key) < _MIN_BYTES:
            raise ConfigurationError(
                f"{name} has {len(key)} bytes, at least {_MIN_BYTES} are needed; "
                'make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
    return ring


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
