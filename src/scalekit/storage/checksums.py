"""Checksums of content: what a client says it has sent, and what a storage says it has.

They find damage on the way. Only SHA-256 also finds intent: with the others, two contents can be made that
have the same checksum.
"""

import hashlib
import zlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from scalekit.errors import ConfigurationError, MalformedUpload


class Hasher(Protocol):
    """What is used of hashlib's objects."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc32:
    """CRC-32 as of zlib, PNG and S3 (ISO/IEC 8802-3), in the shape of a hash; four bytes, big end first."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _hashlib(name: str) -> Callable[[], Hasher]:
    return lambda: hashlib.new(name, usedforsecurity=False)


_HASHERS: dict[str, Callable[[], Hasher]] = {
    "crc32": _Crc32,
    "md5": _hashlib("md5"),
    "sha1": _hashlib("sha1"),
    "sha256": _hashlib("sha256"),
}
_SIZES = {name: len(make().digest()) for name, make in _HASHERS.items()}

ALGORITHMS: tuple[str, ...] = tuple(_HASHERS)
"""The names that :class:`Checksum` takes."""


def hasher(algorithm: str) -> Hasher:
    """A new hash of ``algorithm``.

    Raises:
        ConfigurationError: it is none of ``ALGORITHMS``.
    """
    if algorithm not in _HASHERS:
        raise ConfigurationError(f"algorithm={algorithm!r:.40} is none of {', '.join(ALGORITHMS)}")
    return _HASHERS[algorithm]()


@dataclass(frozen=True, slots=True)
class Checksum:
    """The checksum of a content.

    Args:
        algorithm: one of ``ALGORITHMS``.
        digest: its value, as bytes.

    Raises:
        ConfigurationError: no such algorithm, or a digest of another length than the algorithm's.
    """

    algorithm: str
    digest: bytes

    def __post_init__(self) -> None:
        hasher(self.algorithm)
        if len(self.digest) != _SIZES[self.algorithm]:
            raise ConfigurationError(
                f"a digest of {len(self.digest)} bytes; {self.algorithm} has {_SIZES[self.algorithm]}"
            )

    @classmethod
    def of(cls, content: bytes | bytearray | memoryview, algorithm: str = "sha256") -> Self:
        """The checksum of bytes at hand."""
        running = hasher(algorithm)
        running.update(content)
        return cls(algorithm, running.digest())

    @classmethod
    def from_base64(cls, algorithm: str, text: str) -> Self:
        """A checksum as clients write it: base64, with its padding.

        Raises:
            MalformedUpload: an algorithm that is not known here, or no digest of it.
        """
        if algorithm not in _HASHERS:
            raise MalformedUpload(f"checksum algorithm {algorithm!r:.40} is none of {', '.join(ALGORITHMS)}")
        try:
            digest = b64decode(text, validate=True)
        except (Base64Error, ValueError):
            digest = b""
        if len(digest) != _SIZES[algorithm]:
            raise MalformedUpload(f"{text!r:.100} is no {algorithm} checksum in base64")
        return cls(algorithm, digest)

    @property
    def base64(self) -> str:
        """The digest as clients and S3 write it."""
        return b64encode(self.digest).decode("ascii")

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest.hex()}"
