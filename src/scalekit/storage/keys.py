"""Which object keys are allowed. Pure: no I/O, the same answer for every storage.

A key is a relative path of segments joined by ``/``, such as ``photos/2024/3f9c.jpg``. Rules:

* 1 to 900 bytes of UTF-8 in all, so that a storage's prefix and the key fit S3's 1,024 together;
  1 to 200 bytes a segment, so that it is a file name everywhere.
* No segment starts with a dot. ``..`` cannot climb, ``.htaccess`` cannot configure, and names with a
  leading dot are left to the storages (the temporary files of FileStorage).
* No segment starts or ends with white space, none ends with a dot: Windows would drop it and two keys
  would be one file.
* No backslash, which is a separator on some systems.
* No control, format (bidirectional overrides are among them), surrogate, private-use or unassigned
  character, no line or paragraph separator: a key must be what it looks like, in a log too.
* Unicode is in normal form C, so that one look has one key.
"""

import secrets
import unicodedata

from scalekit.errors import InvalidKey

MAX_KEY_BYTES = 900
MAX_SEGMENT_BYTES = 200

_BAD_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MAX_FILENAME = 255

# S3 keeps 2 KiB beside an object, all in all, and a byte that is not ASCII takes three of them: ``%C3``.
_MAX_FILENAME_BYTES = 640


def check_key(key: str) -> str:
    """``key`` itself, if it is allowed.

    Raises:
        InvalidKey: it breaks one of the rules above; the message says which.
    """
    if not isinstance(key, str):  # a caller without a type checker
        raise InvalidKey(repr(key), f"is a {type(key).__name__}, not a str")
    _check_text(key, key)
    if key.startswith("/"):
        raise InvalidKey(key, "is absolute; keys are relative to the storage")
    for segment in key.split("/"):
        _check_segment(key, segment)
    return key


def check_prefix(prefix: str) -> str:
    """``prefix`` itself, if some allowed key can start with it. The last segment may be unfinished or empty.

    Raises:
        InvalidKey: no key could start like this.
    """
    if prefix:
        _check_text(prefix, prefix)
        if prefix.startswith("/"):
            raise InvalidKey(prefix, "is absolute; prefixes are relative to the storage")
        *whole, last = prefix.split("/")
        for segment in whole:
            _check_segment(prefix, segment)
        if last.startswith((".", " ")):
            raise InvalidKey(prefix, "has a segment that starts with a dot or white space")
    return prefix


def check_scope(prefix: str) -> str:
    """``prefix`` itself, if it can be the place of one tenant: ``t/1`` would be that of ``t/10`` too.

    Raises:
        InvalidKey: no key could start like this, or it does not end with a slash.
    """
    if not prefix.endswith("/"):
        raise InvalidKey(prefix, "does not end with a slash, so that it would be the beginning of others")
    return check_prefix(prefix)


def random_key(extension: str = "", *, prefix: str = "") -> str:
    """A key that nobody can guess and nobody chose: 128 random bits after ``prefix``."""
    return check_key(f"{prefix}{secrets.token_hex(16)}{extension}")


def clean_filename(name: str) -> str:
    """A client's file name made harmless to show: no directories, no invisible characters, not too long.

    It is for people to read. It never becomes a key. What is beyond 255 characters, or 640 bytes of UTF-8, is
    cut off.
    """
    base = name.replace("\\", "/").rpartition("/")[2]
    visible = "".join(char for char in base if unicodedata.category(char) not in _BAD_CATEGORIES)
    return visible.strip()[:_MAX_FILENAME].encode()[:_MAX_FILENAME_BYTES].decode(errors="ignore")


def filename_or_none(name: str | None) -> str | None:
    """:func:`clean_filename` for a name that may be missing; ``None`` also where nothing is left of it."""
    return clean_filename(name) or None if name is not None else None


def _check_text(key: str, text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidKey(key, "contains a lone surrogate") from None
    if not size:
        raise InvalidKey(key, "is empty")
    if size > MAX_KEY_BYTES:
        raise InvalidKey(key, f"has {size} bytes, more than {MAX_KEY_BYTES}")
    if "\\" in text:
        raise InvalidKey(key, "contains a backslash")
    if not text.isascii() or not text.isprintable():
        for char in text:
            if unicodedata.category(char) in _BAD_CATEGORIES:
                raise InvalidKey(key, f"contains U+{ord(char):04X}, a control or invisible character")
        if not unicodedata.is_normalized("NFC", text):
            raise InvalidKey(key, "is not in Unicode normal form C")


def _check_segment(key: str, segment: str) -> None:
    if not segment:
        raise InvalidKey(key, "has an empty segment")
    if segment.startswith("."):
        raise InvalidKey(key, "has a segment that starts with a dot")
    if segment.endswith(".") or segment != segment.strip():
        raise InvalidKey(key, "has a segment that ends with a dot, or starts or ends with white space")
    size = len(segment.encode())
    if size > MAX_SEGMENT_BYTES:
        raise InvalidKey(key, f"has a segment of {size} bytes, more than {MAX_SEGMENT_BYTES}")
