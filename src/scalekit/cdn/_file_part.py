"""The bytes of a file on their way out, piece by piece.

What was said of them before holds to the end. Of a file that was written into meanwhile, or cut short, the
last piece is not sent: client and CDN notice a response that breaks off, but new bytes under the name of the
old ones would stay with them for a year.
"""

import os
from typing import BinaryIO

from scalekit.cdn._asset import stamp
from scalekit.cdn.serve import Answer

CHUNK = 256 * 1024
"""Bytes read at a time; under ASGI each in one visit to a worker thread."""


class FilePart:
    """What an answer has of a file.

    Args:
        file: at the first byte to send.
        answer: as :meth:`scalekit.cdn.serve.Request.open` gave it along.

    ``left`` is how many bytes are still to be read.
    """

    def __init__(self, file: BinaryIO, answer: Answer) -> None:
        self._file, self._stamp = file, answer.stamp
        self.left = answer.stop - answer.start

    def read(self) -> bytes:
        """The next piece; empty at the end.

        Raises:
            RuntimeError: the file is not the one any more that headers were made for.
        """
        piece = self._file.read(min(self.left, CHUNK))
        short = bool(self.left) and not piece
        self.left -= len(piece)
        if short or (not self.left and not self._is_same()):
            raise RuntimeError(
                f"{self._file.name} was written into while it was sent, so the response ends unfinished; "
                "bring new files under the name of old ones by renaming"
            )
        return piece

    def _is_same(self) -> bool:
        # Without the time of the inode: it changes when another file takes the name, too, which is no harm.
        return self._stamp is None or stamp(os.fstat(self._file.fileno()))[:2] == self._stamp[:2]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # What WSGI servers ask for.

    def __iter__(self) -> "FilePart":
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        return self.read()
