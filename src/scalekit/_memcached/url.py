"""Memcached URLs.

=======================================  ===============================================================
``memcached://host:11211,other:11211``   one server or several; the port may be left out
``memcacheds://host:11211``              the same over TLS, with the certificates that this system trusts
``unix:///run/memcached.sock``           one server on a unix socket
=======================================  ===============================================================

Neither has a user, a password or options: time-outs are arguments of ``from_url``, where they are checked.
An error never quotes the URL: it may be that of something else, with a password.
"""

from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from scalekit.errors import ConfigurationError

Place: TypeAlias = tuple[str, int] | str
"""A host and a port, or the path of a unix socket."""

PORT = 11211
_SCHEMES = ("memcached", "memcacheds", "unix")


@dataclass(frozen=True)
class Target:
    """A parsed URL."""

    places: tuple[Place, ...]
    tls: bool = False


def parse(url: str) -> Target:
    """The servers that ``url`` names.

    Raises:
        ConfigurationError: not a URL of the table above.
    """
    if not isinstance(url, str):
        raise ConfigurationError(
            f"a Memcached URL must be a str such as memcached://localhost:11211, not {type(url).__name__}; "
            "is the variable set that it is read from?"
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError("the Memcached URL cannot be parsed; write memcached://host:port") from None
    if parts.scheme not in _SCHEMES or not url.lower().startswith(f"{parts.scheme}://"):
        raise ConfigurationError(
            "a Memcached URL begins with memcached://, memcacheds:// or unix://, and this one does not; "
            "write memcached://host:port"
        )
    if "@" in url or parts.query or "#" in url:
        raise ConfigurationError(
            "a Memcached URL has no user, no password and no options; give time-outs to from_url"
        )
    path = unquote(parts.path)
    if parts.scheme == "unix":
        if not path or parts.netloc:
            raise ConfigurationError(
                "a unix:// Memcached URL needs an absolute path: unix:///run/memcached.sock"
            )
        return Target((path,))
    if path not in ("", "/"):
        raise ConfigurationError("a Memcached URL has no path: Memcached has no numbered databases")
    places = tuple(_place(server) for server in parts.netloc.split(","))
    if len(set(places)) < len(places):
        raise ConfigurationError("the Memcached URL names a server twice")
    return Target(places, tls=parts.scheme == "memcacheds")


def _place(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):  # no port; an IPv6 address is in brackets
        host, port = text, str(PORT)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigurationError("a port of the Memcached URL is no number from 1 to 65535")
    host = unquote(host).strip("[]")
    if not host:
        raise ConfigurationError("the Memcached URL names a server without a host")
    return host, int(port)
