"""The file that a copy is: what the origin says of the object, the content, and a sum of every block of it.

::

    header   4,096 bytes: a mark, the length and CRC-32 of what follows, then JSON, then zeros
    content  as it is
    sums     4 bytes a block: the CRC-32 of each 256 KiB of the content

Rules:

* A copy that is not as long as its header says, or whose header is damaged, is none.
* A block is compared with its sum whenever it is read, so that no reader gets what a disk, or a crash, has
  made of it. That is also why nothing has to be flushed to the disk: what a crash takes is found out.
* The last piece of the content is written only once all of it has the origin's checksum, if it has one.
  Nobody reads to the end of what is not as it should be.
"""

import json
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from scalekit.errors import ChecksumMismatch
from scalekit.storage._values import Chunk, Stored
from scalekit.storage.checksums import Checksum, hasher

HEADER = 4096
BLOCK = 256 * 1024
_MARK = b"sk-copy1"
_FRAME = struct.Struct(">8sII")
_SUM = struct.Struct(">I")


def length_of(size: int) -> int:
    """The length of the file for a content of ``size`` bytes."""
    return HEADER + size + _SUM.size * -(-size // BLOCK)


def header_of(stored: Stored) -> bytes | None:
    """The header, or ``None`` if there is more to say than goes into one."""
    facts = asdict(stored) | {"modified": stored.modified.isoformat()}
    if stored.checksum is not None:
        facts["checksum"] = [stored.checksum.algorithm, stored.checksum.digest.hex()]
    text = json.dumps(facts, ensure_ascii=False).encode()
    if len(text) > HEADER - _FRAME.size:
        return None
    return (_FRAME.pack(_MARK, len(text), zlib.crc32(text)) + text).ljust(HEADER, b"\0")


def stored_in(fd: int) -> Stored | None:
    """What the header of an open file says, or ``None`` if it has none."""
    head = os.pread(fd, HEADER, 0)
    if len(head) < HEADER:
        return None
    mark, length, check = _FRAME.unpack_from(head)
    text = head[_FRAME.size : _FRAME.size + length]
    if mark != _MARK or zlib.crc32(text) != check:
        return None
    try:
        facts: dict[str, Any] = json.loads(text)
        facts["modified"] = datetime.fromisoformat(facts["modified"])
        if facts["checksum"] is not None:
            facts["checksum"] = Checksum(facts["checksum"][0], bytes.fromhex(facts["checksum"][1]))
        return Stored(**facts)
    except (KeyError, TypeError, ValueError):  # another release says it in another way
        return None


@dataclass(frozen=True, slots=True)
class Copy:
    """A whole copy, open for reading. ``asked`` is when the origin said so, in nanoseconds; 0: who knows."""

    fd: int
    stored: Stored
    asked: int

    def block(self, number: int) -> bytes | None:
        """A block of the content, or ``None`` if it is not what was written."""
        offset = number * BLOCK
        length = min(BLOCK, self.stored.size - offset)
        try:
            data = os.pread(self.fd, length, HEADER + offset)
            check = os.pread(self.fd, _SUM.size, HEADER + self.stored.size + number * _SUM.size)
        except OSError:  # what the disk cannot read
            return None
        return data if len(data) == length and check == _SUM.pack(zlib.crc32(data)) else None

    def note(self, *, used: int, asked: int) -> None:
        """Write down when it was used, which decides what is evicted, and when the origin was asked."""
        with suppress(OSError):  # a file that another user's process has written, or a full disk
            os.utime(self.fd, ns=(used, asked))


@dataclass(slots=True)
class Writer:
    """A copy being written to an open file that has its header."""

    fd: int
    stored: Stored
    written: int = 0
    _sums: bytearray = field(default_factory=bytearray)
    _sum: int = 0
    _hasher: Any = None

    def append(self, chunk: Chunk) -> bool:
        """Write the next bytes. False if they are more than there should be.

        Raises:
            ChecksumMismatch: they are the last ones, and the content is not what the origin says it is.
        """
        size, checksum = self.stored.size, self.stored.checksum
        if self.written + len(chunk) > size:
            return False
        view, at = memoryview(chunk).cast("B"), self.written
        while view:
            room = BLOCK - at % BLOCK
            self._sum = zlib.crc32(view[:room], self._sum)
            at += len(view[:room])
            view = view[room:]
            if at % BLOCK == 0 or at == size:
                self._sums += _SUM.pack(self._sum)
                self._sum = 0
        if checksum is not None:
            self._hasher = self._hasher or hasher(checksum.algorithm)
            self._hasher.update(chunk)
            if at == size and (found := Checksum(checksum.algorithm, self._hasher.digest())) != checksum:
                raise ChecksumMismatch(expected=str(checksum), found=str(found))
        self._write(chunk, HEADER + self.written)
        self.written = at
        return True

    def end(self) -> bool:
        """Write the sums. False if the content is shorter than it should be."""
        if self.written != self.stored.size:
            return False
        self._write(self._sums, HEADER + self.stored.size)
        return True

    def _write(self, data: Chunk, offset: int) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self.fd, view, offset)
            view, offset = view[count:], offset + count
