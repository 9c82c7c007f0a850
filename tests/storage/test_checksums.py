"""Content that is not what was promised is refused by every storage."""

import base64
import zlib

import pytest

from scalekit.errors import ChecksumMismatch, ConfigurationError, MalformedUpload
from scalekit.storage import Checksum, MiB, Storage
from scalekit.storage.checksums import ALGORITHMS, hasher
from tests.storage.helpers import chunks


@pytest.mark.parametrize("size", [3, 9 * MiB], ids=["one piece", "two pieces"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_wrong_checksum_stores_nothing(storage: Storage, algorithm: str, size: int) -> None:
    """17. The right checksum is stored, a wrong one is a 400 that names both, and there is no object."""
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    right, wrong = Checksum.of(content, algorithm), Checksum.of(content + b"!", algorithm)
    with pytest.raises(ChecksumMismatch) as refused:
        await storage.put("a.bin", chunks(content[:2], content[2:]), checksum=wrong)
    assert (refused.value.expected, refused.value.found) == (str(wrong), str(right))
    assert refused.value.status == 400
    assert [stored async for stored in storage.list()] == []
    assert (await storage.put("a.bin", chunks(content), checksum=right)).size == size
    assert await storage.read("a.bin") == content


async def test_what_was_there_stays(storage: Storage) -> None:
    """17. An object that was to be replaced is kept when the new content is not what was promised."""
    await storage.put("a.txt", b"old")
    with pytest.raises(ChecksumMismatch):
        await storage.put("a.txt", b"new", checksum=Checksum.of(b"other"), overwrite=True)
    assert await storage.read("a.txt") == b"old"


def test_crc32_is_that_of_s3() -> None:
    """CRC-32 is written as S3 writes it: four bytes, the big end first, in base64."""
    expected = base64.b64encode(zlib.crc32(b"123456789").to_bytes(4, "big")).decode()
    assert Checksum.of(b"123456789", "crc32").base64 == expected == "y/Q5Jg=="


def test_in_pieces_as_in_one() -> None:
    """A hash that is fed in pieces, of whatever kind, ends where one over the whole does."""
    for algorithm in ALGORITHMS:
        running = hasher(algorithm)
        for piece in (b"one", bytearray(b"two"), memoryview(b"three")):
            running.update(piece)
        assert running.digest() == Checksum.of(b"onetwothree", algorithm).digest


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [("sha512", "AAAA"), ("sha256", "AAAA"), ("crc32", "no base64!"), ("crc32", "y/Q5Jg"), ("md5", "é")],
)
def test_what_clients_write_is_checked(algorithm: str, text: str) -> None:
    """An unknown algorithm, and what is no digest of it, are the client's fault: 400."""
    with pytest.raises(MalformedUpload):
        Checksum.from_base64(algorithm, text)


def test_from_a_client() -> None:
    """What a client writes is read as it is written."""
    own = Checksum.of(b"content", "sha1")
    assert Checksum.from_base64("sha1", own.base64) == own
    assert str(own) == f"sha1:{own.digest.hex()}"


def test_mistakes_of_the_application() -> None:
    """An application that names no algorithm, or gives no digest of it, hears so at once."""
    for algorithm, digest in (("sha3", b""), ("sha256", b"short")):
        with pytest.raises(ConfigurationError, match=algorithm):
            Checksum(algorithm, digest)
