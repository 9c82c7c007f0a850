"""The codings ``gzip`` (RFC 1952) and ``deflate`` (RFC 1950), from the standard library.

The header of a gzip body stays, byte for byte: some applications put a file name of random length there, so
that nobody can tell what a page says by the length of it (BREACH).
"""

import struct
import zlib
from collections.abc import Iterator

from scalekit.cdn._coding import Encoder, Format, FrameDecoder, Garbled

_LEVEL = 6  # zlib's own default: higher ones cost much more than they save on a page
_PLAIN_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_HEADER_LIMIT = 64 * 1024
_EXTRA, _NAME, _COMMENT, _CHECKSUM = 4, 8, 16, 2


def compress(data: bytes, level: int) -> bytes:
    """``data`` as a whole in ``gzip``, with no name, no time and no system in its header."""
    inner = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    body = inner.compress(data) + inner.flush()
    return _PLAIN_HEADER + body + struct.pack("<LL", zlib.crc32(data), len(data) & 0xFFFFFFFF)


class Gzip:
    """One body in ``gzip``."""

    def decoder(self) -> "_GzipDecoder":
        self._decoder = _GzipDecoder()
        return self._decoder

    def encoder(self) -> Encoder:
        return _GzipEncoder(self._decoder.header)


class Deflate:
    """One body in ``deflate``."""

    def decoder(self) -> FrameDecoder:
        return FrameDecoder(_DEFLATE)

    def encoder(self) -> Encoder:
        return _Deflater(zlib.MAX_WBITS)


class _Inflater:
    """zlib's decoder in the shape that newer ones have."""

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


_GZIP = Format(frame=lambda: _Inflater(zlib.MAX_WBITS | 16), starts=(b"\x1f\x8b\x08",), error=zlib.error)
_DEFLATE = Format(frame=lambda: _Inflater(zlib.MAX_WBITS), starts=(), error=zlib.error)


class _GzipDecoder(FrameDecoder):
    """Keeps the header of the first member."""

    def __init__(self) -> None:
        super().__init__(_GZIP)
        self.header, self._beginning = b"", b""

    def decode(self, data: bytes) -> Iterator[bytes]:
        if not self.header:
            self._beginning += data[:_HEADER_LIMIT]
            self.header = self._beginning[: _header_size(self._beginning)]
            if self.header:
                self._beginning = b""
            elif len(self._beginning) >= _HEADER_LIMIT:
                raise Garbled(f"the gzip header is longer than {_HEADER_LIMIT} bytes")
        return super().decode(data)


def _header_size(data: bytes) -> int:
    """The length of a gzip header; 0 while it is incomplete."""
    if len(data) < 10:
        return 0
    flags, size = data[3], 10
    if flags & _EXTRA:
        size += 2 + int.from_bytes(data[10:12], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            size = data.find(b"\0", size) + 1
            if not size:
                return 0
    if flags & _CHECKSUM:
        size += 2
    return size if size <= len(data) else 0


class _Deflater:
    """A raw (negative window) or zlib stream."""

    def __init__(self, window: int) -> None:
        self._inner = zlib.compressobj(_LEVEL, zlib.DEFLATED, window)

    def encode(self, data: bytes) -> bytes:
        return self._inner.compress(data)

    def flush(self) -> bytes:
        return self._inner.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._inner.flush()


class _GzipEncoder(_Deflater):
    """A stream with the header that it had."""

    def __init__(self, header: bytes) -> None:
        super().__init__(-zlib.MAX_WBITS)
        self._header, self._sum, self._size = header, 0, 0

    def encode(self, data: bytes) -> bytes:
        self._sum, self._size = zlib.crc32(data, self._sum), self._size + len(data)
        return self._begin() + super().encode(data)

    def finish(self) -> bytes:
        return self._begin() + super().finish() + struct.pack("<LL", self._sum, self._size & 0xFFFFFFFF)

    def _begin(self) -> bytes:
        header, self._header = self._header, b""
        return header
