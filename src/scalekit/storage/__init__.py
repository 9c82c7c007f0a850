"""Uploads that any server can take: streamed to S3, to a shared file system, or to memory, by one contract.

==========================================  ===========================================================
:class:`~scalekit.storage.Storage`          the contract
:class:`~scalekit.storage.MemoryStorage`    in this process, for tests
:class:`~scalekit.storage.FileStorage`      a directory, local or shared between servers
:class:`~scalekit.storage.MirroredStorage`  a copy of any storage on the local disk, for reading
``scalekit.storage.s3.S3Storage``           Amazon S3 and what speaks like it
``scalekit.storage.quarantine.Quarantine``  a scanner in front of any storage
``scalekit.storage.forms.stream_form``      ``multipart/form-data`` straight into a storage
``scalekit.storage.tus.TusUploads``         resumable uploads, on any server
``scalekit.storage.direct.DirectUploads``   from a browser straight to S3
``scalekit.storage.serve.StorageFiles``     the objects of a storage over HTTP; its twin is in ``.wsgi``
``scalekit.storage.moving.sync``            from one storage to another
``scalekit.storage.sweep.sweep``            remove what killed servers left behind
==========================================  ===========================================================
"""

from scalekit.storage._contract import Storage
from scalekit.storage._values import Leftover, Opened, SignedURL, Source, Stored, UploadedFile
from scalekit.storage.checksums import Checksum
from scalekit.storage.filesystem import FileStorage
from scalekit.storage.memory import MemoryStorage
from scalekit.storage.mirror import MirroredStorage
from scalekit.storage.scoped import ScopedStorage

KiB: int = 1024
MiB: int = 1024 * KiB
GiB: int = 1024 * MiB

__all__ = [
    "Checksum",
    "FileStorage",
    "GiB",
    "KiB",
    "Leftover",
    "MemoryStorage",
    "MiB",
    "MirroredStorage",
    "Opened",
    "ScopedStorage",
    "SignedURL",
    "Source",
    "Storage",
    "Stored",
    "UploadedFile",
]
