"""A visitor's address, scheme and host as a CDN says them in headers. Pure.

Rules:

* In ``X-Forwarded-For`` each proxy adds, at the right, who has asked it. What stands further left than the
  proxies that are known comes from the visitor, and may be anything: so it is counted from the right.
* Other headers have one value. Two, or a list, are none: a visitor may have sent one of them.
* ``CloudFront-Viewer-Address`` ends with a port, always, and has no brackets around an IPv6 address.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

FORWARDED_FOR = b"x-forwarded-for"
_ENDS_WITH_PORT = b"cloudfront-viewer-address"

_BRACKETS = re.compile(r"\[(?P<address>[0-9A-Fa-f:.]+)\](?::(?P<port>\d{1,5}))?")
_V4 = re.compile(r"(?P<address>[0-9.]+):(?P<port>\d{1,5})")
_TAIL = re.compile(r"(?P<address>[0-9A-Fa-f:.]+):(?P<port>\d{1,5})")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


def only_value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """The value of a header that is there once."""
    values = [value for header, value in headers if header == name]
    return values[0].decode("latin-1").strip() if len(values) == 1 else None


def visitor(headers: Iterable[tuple[bytes, bytes]], name: bytes, *, hops: int) -> tuple[str, int] | None:
    """Address and port by the header ``name``; port 0 where it does not say one.

    Args:
        hops: how many proxies of ours have added to ``X-Forwarded-For``.
    """
    if name != FORWARDED_FOR:
        text = only_value(headers, name)
        return None if text is None else _parse(text, ends_with_port=name == _ENDS_WITH_PORT)
    entries = ",".join(value.decode("latin-1") for header, value in headers if header == name).split(",")
    return _parse(entries[-hops].strip()) if len(entries) >= hops else None


def _parse(text: str, *, ends_with_port: bool = False) -> tuple[str, int] | None:
    found = _BRACKETS.fullmatch(text) or (_TAIL if ends_with_port else _V4).fullmatch(text)
    address = found["address"] if found else text
    if "%" in address or (ends_with_port and (found is None or found["port"] is None)):
        return None  # a zone, which is of another machine
    port = int(found["port"]) if found and found["port"] else 0
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    if port > 65_535:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(parsed), port


def scheme(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """``"http"`` or ``"https"`` by the header ``name``."""
    text = (only_value(headers, name) or "").lower()
    return text if text in ("http", "https") else None


def host(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The host, with its port if it has one, by the header ``name``."""
    text = only_value(headers, name) or ""
    return text.encode("latin-1") if _HOST.fullmatch(text) else None
