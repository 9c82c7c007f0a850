"""What an answer says of an upload."""

from email.utils import formatdate

from scalekit.storage._tus_address import Upload
from scalekit.storage._tus_pieces import Progress
from scalekit.types import Headers


def place_of(upload: Upload, progress: Progress) -> Headers:
    """How far it is, and until when it can go on."""
    told = [(b"upload-offset", b"%d" % progress.offset)]
    if not progress.complete:
        told.append((b"upload-expires", formatdate(upload.expires, usegmt=True).encode()))
    return told


def description_of(upload: Upload, progress: Progress) -> Headers:
    """What HEAD tells beyond that."""
    if progress.length is None:
        told = [(b"upload-defer-length", b"1")]
    else:
        told = [(b"upload-length", b"%d" % progress.length)]
    if upload.metadata:
        told.append((b"upload-metadata", upload.metadata.encode("latin-1")))
    if upload.kind != "whole":
        concat = upload.kind if progress.final is None else progress.final.concat
        told.append((b"upload-concat", concat.encode("latin-1")))
    return told
