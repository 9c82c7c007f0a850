"""What a file is, told from its first bytes, and whether that is accepted. Pure.

Rules:

* The content decides; the type that the client declares is a claim. A file that starts like a web page
  is a web page, whatever its header and its name say.
* A declaration may only *narrow* what the bytes leave open, to a type of a closed list: a Word document is a
  ZIP archive, a CSV file is plain text. It can never turn unknown bytes into a type whose signature we know
  and do not see.
* ``image/*`` and ``*/*`` do not include types that run scripts (HTML, SVG, XML): those must be named.
"""

from collections.abc import Sequence

from scalekit.errors import ConfigurationError, UnsupportedMediaType
from scalekit.storage._content_type import essence_of, is_pattern
from scalekit.storage._extensions import OFFICE, UNKNOWN

SNIFF_BYTES = 1024
"""How many bytes :func:`sniff` wants to see; fewer when the file is shorter."""

PLAIN = "text/plain"
EMPTY = "application/x-empty"

ACTIVE = frozenset({"text/html", "image/svg+xml", "application/xhtml+xml", "application/xml", "text/xml"})
"""Types that browsers execute; a wildcard never accepts them."""

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"OggS\x00", "application/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"MZ", "application/x-msdownload"),
    (b"\x7fELF", "application/x-executable"),
    (b"#!", "application/x-sh"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_ISO_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"M4A ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
# The opening tags by which browsers recognise HTML (WHATWG MIME sniffing, 7.1).
_HTML = (
    b"<!doctype html", b"<html", b"<head", b"<script", b"<iframe", b"<h1", b"<div", b"<font", b"<table",
    b"<a", b"<style", b"<title", b"<b", b"<body", b"<br", b"<p", b"<meta", b"<img", b"<!--",
)  # fmt: skip
_TAG_ENDS = frozenset(b" >\t\r\n\f/")
_BINARY = bytes(set(range(32)) - set(b"\t\n\f\r\x1b"))

# Containers: what the bytes say, and what a declaration may narrow it to.
_TEXTS = (
    "text/csv",
    "text/markdown",
    "text/tab-separated-values",
    "text/calendar",
    "text/vcard",
    "application/json",
    "application/x-ndjson",
    "application/yaml",
)
_NARROWER: dict[str, tuple[str, ...]] = {
    "application/zip": ("application/epub+zip", "model/3mf"),
    "application/x-ole-storage": ("application/msword",),
    "application/ogg": ("audio/ogg", "video/ogg", "audio/opus"),
    "video/webm": ("audio/webm",),
    "video/mp4": ("audio/mp4", "video/x-m4v", "video/3gpp"),
    PLAIN: _TEXTS,
    EMPTY: (PLAIN, *_TEXTS),
}
# Families of which there are too many to name.
_FAMILIES: dict[str, tuple[str, ...]] = {
    "application/zip": (OFFICE, "application/vnd.oasis.opendocument."),
    "application/x-ole-storage": ("application/vnd.ms-",),
}
_KNOWN = frozenset(
    {kind for _, kind in _SIGNATURES}
    | set(_RIFF.values())
    | set(_ISO_BRANDS.values())
    | ACTIVE
    | {kind for container, kinds in _NARROWER.items() for kind in (container, *kinds)}
) | {"image/bmp", "video/x-matroska"}


def sniff(head: bytes) -> str:
    """The media type of a file that starts with ``head`` (up to ``SNIFF_BYTES`` of it)."""
    if not head:
        return EMPTY
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    # The first four bytes are the length of a short list of names: below 64 KiB, where no text begins.
    if head[:2] == b"\0\0" and head[4:8] == b"ftyp":
        return _ISO_BRANDS.get(head[8:12], "video/mp4")
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    # "BM" alone begins many a text; the size of the header that follows is one of these.
    if head.startswith(b"BM") and head[14:18] in {
        bytes((n, 0, 0, 0)) for n in (12, 40, 52, 56, 64, 108, 124)
    }:
        return "image/bmp"
    return _text(head)


def _text(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16: the markup must not hide behind zero bytes
        even = len(head) - len(head) % 2
        head = head[:even].decode("utf-16", errors="replace").encode()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\f").lower()
    for tag in _HTML:
        if text.startswith(tag) and (tag == b"<!--" or not text[len(tag) :] or text[len(tag)] in _TAG_ENDS):
            return "image/svg+xml" if tag == b"<!--" and b"<svg" in text else "text/html"
    if text.startswith((b"<svg", b"<!doctype svg")):
        return "image/svg+xml"
    if text.startswith((b"<?xml", b"<!doctype", b"<!entity")):
        if b"<svg" in text or b"doctype svg" in text:
            return "image/svg+xml"
        return "application/xhtml+xml" if b"<html" in text or b"doctype html" in text else "application/xml"
    return UNKNOWN if len(text.translate(None, _BINARY)) != len(text) else PLAIN


def check_accept(accept: Sequence[str]) -> tuple[str, ...]:
    """``accept`` as lower-case patterns: ``image/png``, ``image/*`` or ``*/*``.

    Raises:
        ConfigurationError: a pattern is none of these, or there is none at all.
    """
    if isinstance(accept, str) or not accept:
        raise ConfigurationError(f"accept={accept!r}; give a list such as ['image/*', 'application/pdf']")
    patterns = tuple(pattern.strip().lower() for pattern in accept)
    for pattern in patterns:
        if not is_pattern(pattern):
            raise ConfigurationError(
                f"accept: {pattern!r} is not a media type such as 'image/png' or 'image/*'"
            )
    return patterns


def accepted_type(head: bytes, declared: str, accept: tuple[str, ...]) -> str:
    """The type to store a file under, told from its first bytes.

    Args:
        head: up to ``SNIFF_BYTES`` from the start of the file.
        declared: what the client claims, with or without parameters.
        accept: patterns from :func:`check_accept`.

    Raises:
        UnsupportedMediaType: the content is none of ``accept``; ``found`` is what it is.
    """
    found = sniff(head)
    claim = essence_of(declared)
    if _narrows(claim, found):
        found = claim if _matches(claim, accept) else found
    elif found == UNKNOWN and claim in accept and not _has_signature(claim):
        found = claim  # named by the application, and no signature of ours could confirm or deny it
    if not _matches(found, accept):
        raise UnsupportedMediaType(found=found, accepted=accept)
    return found


def claimed_type(declared: str, accept: tuple[str, ...]) -> str:
    """The type of a file that nobody has seen yet: what the client claims, if it may be that.

    Raises:
        UnsupportedMediaType: its content, if it is what it claims, would not be accepted.
    """
    claim = essence_of(declared)
    if _matches(claim, accept):
        return claim or UNKNOWN
    if claim in ACTIVE or _has_signature(claim):
        raise UnsupportedMediaType(found=claim, accepted=accept)
    return UNKNOWN  # perhaps another name of a type that is


def _narrows(claim: str, found: str) -> bool:
    return claim in _NARROWER.get(found, ()) or claim.startswith(_FAMILIES.get(found, ()))


def _has_signature(kind: str) -> bool:
    return kind in _KNOWN or any(kind.startswith(family) for family in _FAMILIES.values())


def _matches(kind: str, accept: tuple[str, ...]) -> bool:
    if kind in accept:
        return True
    return kind not in ACTIVE and ("*/*" in accept or f"{kind.partition('/')[0]}/*" in accept)
