"""Each content coding that is installed, as clients and applications know it, whatever is tested."""

import gzip
import importlib
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

_ZSTD = "compression" if sys.version_info >= (3, 14) else "backports"
brotli: Any = importlib.import_module("brotli") if find_spec("brotli") else None
zstd: Any = importlib.import_module(f"{_ZSTD}.zstd") if find_spec(_ZSTD) else None


@dataclass(frozen=True)
class Known:
    """How a coding is put on and taken off."""

    name: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]
    compressor: Callable[[], Any]  # with encode(), flush() and finish()
    reader: Callable[[], Callable[[bytes], bytes]]  # what a client can read after each piece


class _Zlib:
    def __init__(self, window: int) -> None:
        self._inner = zlib.compressobj(wbits=window)
        self.encode, self.finish = self._inner.compress, self._inner.flush

    def flush(self) -> bytes:
        return self._inner.flush(zlib.Z_SYNC_FLUSH)


class _Brotli:
    def __init__(self) -> None:
        inner = brotli.Compressor()
        self.encode, self.flush, self.finish = inner.process, inner.flush, inner.finish


class _Zstd:
    def __init__(self) -> None:
        self._inner = zstd.ZstdCompressor()
        self.encode = self._inner.compress

    def flush(self) -> bytes:
        return self._inner.flush(self._inner.FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._inner.flush(self._inner.FLUSH_FRAME)


CODINGS = [
    Known(
        "gzip",
        gzip.compress,
        gzip.decompress,
        lambda: _Zlib(31),
        lambda: zlib.decompressobj(31).decompress,
    ),
    Known(
        "deflate",
        zlib.compress,
        zlib.decompress,
        lambda: _Zlib(15),
        lambda: zlib.decompressobj(15).decompress,
    ),
]
if brotli:
    CODINGS.append(
        Known("br", brotli.compress, brotli.decompress, _Brotli, lambda: brotli.Decompressor().process)
    )
if zstd:
    CODINGS.append(
        Known("zstd", zstd.compress, zstd.decompress, _Zstd, lambda: zstd.ZstdDecompressor().decompress)
    )
