"""The coding ``zstd`` (RFC 8878): in the standard library from 3.14 on, else from ``backports.zstd``."""

import sys
from typing import TYPE_CHECKING

from scalekit.cdn._coding import Encoder, Format, FrameDecoder
from scalekit.errors import MissingExtra

if TYPE_CHECKING or sys.version_info < (3, 14):
    try:
        from backports import zstd
    except ImportError as error:
        raise MissingExtra("compress", needed_by="the content coding zstd") from error
else:
    from compression import zstd

# RFC 9659: browsers take no more than 8 MiB for the window, so nothing more may be asked of us either.
_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
_SKIPPABLE = tuple(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16))
_FRAMES = Format(
    frame=lambda: zstd.ZstdDecompressor(options=_WINDOW),
    starts=(b"\x28\xb5\x2f\xfd", *_SKIPPABLE),
    error=zstd.ZstdError,
)


def compress(data: bytes, level: int) -> bytes:
    """``data`` as a whole in ``zstd``; no level up to 19 has a window of more than 8 MiB."""
    return zstd.compress(data, level)


class Zstd:
    """One body in ``zstd``."""

    def decoder(self) -> FrameDecoder:
        return FrameDecoder(_FRAMES)

    def encoder(self) -> Encoder:
        return _ZstdEncoder()


class _ZstdEncoder:
    def __init__(self) -> None:
        self._inner = zstd.ZstdCompressor()

    def encode(self, data: bytes) -> bytes:
        return self._inner.compress(data)

    def flush(self) -> bytes:
        return self._inner.flush(self._inner.FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._inner.flush(self._inner.FLUSH_FRAME)
