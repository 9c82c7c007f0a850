"""Content types by file extension, the same on every machine.

``mimetypes`` reads the system's own tables, so two servers could answer differently for one file.
"""

_TYPES = {
    "aac": "audio/aac",
    "apng": "image/apng",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "cjs": "text/javascript",
    "css": "text/css",
    "csv": "text/csv",
    "eot": "application/vnd.ms-fontobject",
    "flac": "audio/flac",
    "gif": "image/gif",
    "gz": "application/gzip",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/x-icon",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jxl": "image/jxl",
    "m4a": "audio/mp4",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "ttf": "font/ttf",
    "txt": "text/plain",
    "vtt": "text/vtt",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xml": "application/xml",
    "zip": "application/zip",
}
_TEXT = ("text/", "application/json", "application/manifest+json", "application/xml", "image/svg+xml")

_UNCOMPRESSED = frozenset(
    {"application/wasm", "font/ttf", "font/otf", "application/vnd.ms-fontobject", "image/x-icon", "image/bmp"}
)


def content_type(name: str) -> str:
    """The ``Content-Type`` of a file called ``name``; text counts as UTF-8, the unknown as bytes."""
    kind = _TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")
    return f"{kind}; charset=utf-8" if kind.startswith(_TEXT) else kind


def compressible(name: str) -> bool:
    """Whether a file is of a kind that compression makes smaller: text, and what is not compressed yet."""
    kind = _TYPES.get(name.rpartition(".")[2].lower(), "")
    return kind.startswith(_TEXT) or kind in _UNCOMPRESSED


def never_page(path: str) -> bool:
    """Whether a path ends like a file that is known to be something else than a page."""
    kind = _TYPES.get(path.rpartition(".")[2].lower())
    return kind is not None and kind != "text/html"
