"""A page's body on its way through the rewriter, compressed or not.

Rules:

* One chunk in, what can be sent of it out, at once: what the application flushed reaches the client.
* A compressed body is decoded, rewritten and encoded again in steps of bounded size. At most :data:`WHOLE`
  decoded bytes of one that comes in one piece are held back, to learn its length.
* One that is not in the coding it declares, or that is cut off, goes out as it came in. Where a part of it
  was sent already, it ends there and unfinished, as it would have for the client.
* What follows the end of the coded data goes out as it came in.
"""

from collections.abc import Iterator
from typing import Protocol

from scalekit.cdn._coding import Coding, Encoder, Garbled
from scalekit.cdn.html import HtmlRewriter

WHOLE = 1024 * 1024
"""Bytes of a page, decoded."""

_UNREADABLE = 256 * 1024  # bytes in, of which not one has led to any that could go out


class Body(Protocol):
    """One page's body.

    ``garbled`` tells whether it was not quite in the coding it declared, and ``untouched`` whether it went
    out as it came in for that reason.
    """

    rewriter: HtmlRewriter
    garbled: bool
    untouched: bool

    def only(self, chunk: bytes) -> Iterator[bytes]:
        """What to send for a body that is this chunk alone. Where one piece comes, it is all of it."""
        ...

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What to send for the next chunk, in pieces that may be empty."""
        ...

    def last(self, chunk: bytes) -> Iterator[bytes]:
        """The same for the last chunk, and all that is left."""
        ...


class PlainBody:
    """A body without a coding."""

    garbled = untouched = False

    def __init__(self, rewriter: HtmlRewriter) -> None:
        self.rewriter = rewriter

    def only(self, chunk: bytes) -> Iterator[bytes]:
        yield self.rewriter.rewrite(chunk)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        yield self.rewriter.feed(chunk)

    def last(self, chunk: bytes) -> Iterator[bytes]:
        yield self.rewriter.feed(chunk) + self.rewriter.close()


class CodedBody:
    """A body with one."""

    def __init__(self, rewriter: HtmlRewriter, coding: Coding) -> None:
        self.rewriter = rewriter
        self.garbled = self.untouched = False
        self._coding, self._decoder = coding, coding.decoder()
        self._encoder: Encoder | None = None  # from when on there is something to encode
        self._unflushed = False
        self._decoded = 0
        self._taken: bytes | None = b""  # the input, for as long as nothing was sent for it
        self._passing = self._ended = False  # bytes go out as they come in; none go out any more

    def only(self, chunk: bytes) -> Iterator[bytes]:
        held: list[bytes] | None = []
        for piece in self._last(chunk):
            if held is None:
                yield piece
                continue
            held.append(piece)
            if self._decoded > WHOLE:
                yield from held
                held = None
        if held is not None:
            self.untouched = self.untouched or self._ended
            yield chunk if self.untouched else b"".join(held)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        return self._feed(chunk, flush=True)

    def last(self, chunk: bytes) -> Iterator[bytes]:
        # The first one, too: it is held back as it would be if the headers were not sent yet.
        return self.only(chunk) if self._taken == b"" else self._last(chunk)

    def _last(self, chunk: bytes) -> Iterator[bytes]:
        yield from self._feed(chunk, flush=False)
        if self._passing or self._ended:
            return
        if self._decoder.over:
            yield self._sent(self._finish())
            if rest := self._decoder.rest(last=True):
                self.garbled = True
                yield rest
        elif self._taken != b"":  # else there is no body: that of a redirect, perhaps
            yield self._break_off(self._encode(self.rewriter.close()))

    def _feed(self, chunk: bytes, *, flush: bool) -> Iterator[bytes]:
        if self._passing or self._ended:
            yield chunk if self._passing else b""
            return
        if self._taken is not None:
            self._taken += chunk
        piece = b""
        try:
            for step in self._decoder.decode(chunk):
                yield self._sent(piece)
                self._decoded += len(step)
                piece = self._encode(self.rewriter.feed(step))
        except Garbled:
            yield self._break_off(piece)
            return
        if rest := self._decoder.rest(last=False):
            yield self._sent(piece + self._finish())
            self.garbled = self._passing = True
            yield rest
            return
        yield self._sent(piece + self._flush() if flush else piece)
        if self._taken is not None and len(self._taken) > _UNREADABLE:
            yield self._break_off(b"")

    def _encode(self, data: bytes) -> bytes:
        if not data:
            return b""
        if self._encoder is None:
            self._encoder = self._coding.encoder()
        self._unflushed = True
        return self._encoder.encode(data)

    def _flush(self) -> bytes:
        unflushed, self._unflushed = self._unflushed, False
        return self._encoder.flush() if unflushed and self._encoder is not None else b""

    def _finish(self) -> bytes:
        last = self._encode(self.rewriter.close())
        if self._encoder is None:  # an empty page
            self._encoder = self._coding.encoder()
        return last + self._encoder.finish()

    def _break_off(self, piece: bytes) -> bytes:
        """Send all as it came, or if it is too late for that what was decoded: ``piece`` is not yet sent."""
        self.garbled = True
        if self._taken is not None:
            taken, self._taken = self._taken, None
            self._passing = self.untouched = True
            return taken
        self._ended = True
        return piece + self._flush()

    def _sent(self, piece: bytes) -> bytes:
        if piece:
            self._taken = None
        return piece
