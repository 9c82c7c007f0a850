"""CRC-32 of contents out of those of their pieces."""

import zlib

from hypothesis import given
from hypothesis import strategies as st

from scalekit.storage._crc32 import combined


@given(st.lists(st.binary(max_size=200)))
def test_as_over_the_whole(pieces: list[bytes]) -> None:
    """17. However a content is cut, the checksum of the whole comes out, as zlib has it."""
    whole = 0
    for piece in pieces:
        whole = combined(whole, zlib.crc32(piece), len(piece))
    assert whole == zlib.crc32(b"".join(pieces))


def test_of_large_pieces() -> None:
    """The length of a piece is not bounded by what fits a machine word."""
    zeros = bytes(1024)
    crc = zlib.crc32(zeros)
    for _ in range(5):
        crc = combined(crc, crc, len(zeros))
        zeros += zeros
    assert crc == zlib.crc32(zeros)
    assert combined(0, 7, 1 << 40) == 7
