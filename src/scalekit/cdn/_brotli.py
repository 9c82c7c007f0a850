"""The coding ``br`` (RFC 7932), from the package ``brotli``."""

from collections.abc import Iterator

from scalekit.cdn._coding import STEP, Encoder, Garbled
from scalekit.errors import MissingExtra

try:
    import brotli
except ImportError as error:
    raise MissingExtra("compress", needed_by="the content coding br") from error
if not hasattr(brotli.Decompressor, "can_accept_more_data"):
    # Before 1.2 nothing bounds what comes out of a decoder.
    raise MissingExtra("compress", needed_by="the content coding br (brotli 1.2 or newer)")

_QUALITY = 4  # of 11: for what is compressed while it is sent


def compress(data: bytes, quality: int) -> bytes:
    """``data`` as a whole in ``br``."""
    body: bytes = brotli.compress(data, mode=brotli.MODE_GENERIC, quality=quality)
    return body


class Brotli:
    """One body in ``br``."""

    def decoder(self) -> "_BrotliDecoder":
        return _BrotliDecoder()

    def encoder(self) -> Encoder:
        return _BrotliEncoder()


class _BrotliDecoder:
    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self._behind = b""
        self.over = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), STEP):
            if self.over:
                self._behind += data[start:]
                return
            piece = self._step(data[start : start + STEP])
            while piece:
                yield piece
                piece = self._step(b"")
            self.over = self._inner.is_finished()

    def rest(self, *, last: bool) -> bytes:
        rest, self._behind = self._behind, b""
        return rest

    def _step(self, data: bytes) -> bytes:
        try:
            piece: bytes = self._inner.process(data, output_buffer_limit=STEP)
        except brotli.error as error:
            raise Garbled(str(error)) from error
        return piece


class _BrotliEncoder:
    def __init__(self) -> None:
        self._inner = brotli.Compressor(quality=_QUALITY, mode=brotli.MODE_TEXT)

    def encode(self, data: bytes) -> bytes:
        piece: bytes = self._inner.process(data)
        return piece

    def flush(self) -> bytes:
        piece: bytes = self._inner.flush()
        return piece

    def finish(self) -> bytes:
        piece: bytes = self._inner.finish()
        return piece
