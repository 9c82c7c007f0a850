"""Which extension a type has, and which type an extension stands for: the same on every server. Pure."""

import mimetypes

from scalekit.storage._content_type import check_content_type

UNKNOWN = "application/octet-stream"
OFFICE = "application/vnd.openxmlformats-officedocument."
"""What the types of a family begin with of which there are too many to name."""

# Written out where the table of the operating system may say something else, or nothing.
_EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/avif": ".avif",
    "image/heic": ".heic",
    "image/heif": ".heif",
    "image/tiff": ".tiff",
    "image/bmp": ".bmp",
    "image/x-icon": ".ico",
    "image/svg+xml": ".svg",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "application/gzip": ".gz",
    "application/json": ".json",
    "application/xml": ".xml",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/wav": ".wav",
    "audio/flac": ".flac",
    "audio/ogg": ".oga",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "text/markdown": ".md",
    "text/html": ".html",
    "font/woff": ".woff",
    "font/woff2": ".woff2",
    OFFICE + "wordprocessingml.document": ".docx",
    OFFICE + "spreadsheetml.sheet": ".xlsx",
    OFFICE + "presentationml.presentation": ".pptx",
}
_TYPES = {extension: kind for kind, extension in _EXTENSIONS.items()} | {
    ".jpeg": "image/jpeg",
    ".htm": "text/html",
}
# A table of our own making: the one in the operating system differs from server to server.
_STANDARD = mimetypes.MimeTypes(filenames=())


def extension_for(content_type: str) -> str:
    """``".jpg"`` for ``"image/jpeg"``, ``""`` if unknown: extensions come from types, not from clients."""
    return _EXTENSIONS.get(content_type) or _STANDARD.guess_extension(content_type) or ""


def type_for(key: str) -> str:
    """The media type that a key's extension stands for, or ``application/octet-stream``."""
    name = key.rpartition("/")[2]
    extension = name[name.rfind(".") :].lower() if "." in name else ""
    if extension in _TYPES:
        return _TYPES[extension]
    # Through guess_type, "x.txt.gz" would be text/plain with an encoding; it is a gzip file.
    return _STANDARD.types_map[True].get(extension) or UNKNOWN


def content_type_for(key: str, given: str | None) -> str:
    """Under which type an object is stored: the one that the application gave, or the one of its key.

    Raises:
        ConfigurationError: what was given is no media type.
    """
    return type_for(key) if given is None else check_content_type(given)
