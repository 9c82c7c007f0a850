"""What a content coding is to a page: how it is taken off and put on again, while the page streams by.

Rules:

* Decoding is in steps of :data:`STEP` bytes or a little more, however much the input expands to.
* What follows the end of the coded data is no part of it; it is handed on as it is, for readers to ignore.
* Where a coding allows several frames (members) on end, they are read as one, as its standard has it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

STEP = 64 * 1024
"""Bytes that go into a decoder, and come out of it, at a time."""


class Garbled(Exception):
    """The bytes are not in the coding that they were declared to be in."""


class Decoder(Protocol):
    """Takes a coding off one body. ``over`` tells whether its end was reached, so that nothing is missing."""

    over: bool

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The next bytes, step by step, none of them empty.

        Raises:
            Garbled: they are not in this coding.
        """
        ...

    def rest(self, *, last: bool) -> bytes:
        """What was found behind the end since last asked; ``last`` when no more will come."""
        ...


class Encoder(Protocol):
    """Puts a coding on one body."""

    def encode(self, data: bytes) -> bytes:
        """What can be sent so far, perhaps nothing."""
        ...

    def flush(self) -> bytes:
        """What makes all of it readable now."""
        ...

    def finish(self) -> bytes:
        """The end."""
        ...


class Coding(Protocol):
    """One body's coding: its decoder, and then the encoder that puts on what the decoder took off."""

    def decoder(self) -> Decoder: ...

    def encoder(self) -> Encoder: ...


class Frame(Protocol):
    """One frame's decoder, in the shape of the standard library's ``compression.zstd``."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """Frames on end.

    Args:
        frame: makes the decoder of one.
        starts: what a further one begins with, all of the same length; none if there can only be one.
        error: what such a decoder raises.
    """

    frame: Callable[[], Frame]
    starts: tuple[bytes, ...]
    error: type[Exception]


class FrameDecoder:
    """Decodes the frames of a format, one after another."""

    def __init__(self, form: Format) -> None:
        self._format, self._frame = form, form.frame()
        self._behind, self._strange = b"", False  # what follows the end, and whether it is no frame
        self.over = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        """See :class:`Decoder`."""
        # In slices, for decoders copy what they have not read yet with every step.
        for start in range(0, len(data), STEP):
            yield from self._decode(data[start : start + STEP])

    def rest(self, *, last: bool) -> bytes:
        """See :class:`Decoder`."""
        if not (self._strange or last):
            return b""
        rest, self._behind = self._behind, b""
        return rest

    def _decode(self, data: bytes) -> Iterator[bytes]:
        while not self.over or self._another(data):
            if self.over:
                data, self._behind = self._behind + data, b""
                self._frame, self.over = self._format.frame(), False
            try:
                piece = self._frame.decompress(data, STEP)
            except self._format.error as error:
                raise Garbled(str(error)) from error
            if piece:
                yield piece
            data = b""
            if self._frame.eof:
                self.over, data = True, self._frame.unused_data
            elif self._frame.needs_input and len(piece) < STEP:
                return
        self._behind += data

    def _another(self, data: bytes) -> bool:
        """Whether one more frame begins behind the end of the last."""
        starts = self._format.starts
        size = len(starts[0]) if starts else 0
        start = (self._behind + data[:size])[:size]
        if not starts or (start and not any(known.startswith(start) for known in starts)):
            self._strange = True
        return not self._strange and 0 < size == len(start)
