"""Redis URLs.

==========================================  =====================================================
``redis://user:password@host:6379/0``       one server; ``rediss://`` over TLS
``unix:///path/redis.sock?db=0``            one server on a unix socket
``redis+sentinel://h1:26379,h2/name/0``     the master that Sentinels know as ``name``; ``rediss+sentinel://``
``redis+cluster://h1:6379,h2:6379``         a Redis Cluster; one reachable node suffices; ``rediss+cluster://``
==========================================  =====================================================

Query options: ``db``, ``username``, ``password``, ``client_name``, ``ssl_*`` as redis-py knows them, and
``sentinel_username``, ``sentinel_password``. Time-outs are arguments of ``from_url``, where they are checked.

Special characters are percent-encoded, as in any URL. A bare ``/``, ``?`` or ``#`` ends the part that the
password is in: what looks like that is refused, as the rest of a password would be taken for something else.

An error names what is wrong and never quotes the URL: it may hold a password.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from scalekit.errors import ConfigurationError

Kind = Literal["standalone", "unix", "sentinel", "cluster"]

_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("standalone", False),
    "rediss": ("standalone", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_PORTS = {"standalone": 6379, "sentinel": 26379, "cluster": 6379, "unix": 0}
_TEXT = ("username", "password", "client_name", "sentinel_username", "sentinel_password")
_SSL_TEXT = (
    "ssl_keyfile",
    "ssl_certfile",
    "ssl_cert_reqs",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_password",
    "ssl_ciphers",
)
_ENCODE = "percent-encode special characters, above all in a password: / is %2F, ? is %3F, # is %23, [ is %5B"
_OWN = {"timeout", "connect_timeout", "max_connections", "socket_timeout", "socket_connect_timeout"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A parsed URL. ``options`` are for redis-py; ``name`` is for messages and has no credentials."""

    kind: Kind
    name: str
    nodes: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    tls: bool = False
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)


def parse(url: str) -> Target:
    """The target that ``url`` names.

    Raises:
        ConfigurationError: not a URL of the table above, or an option that it does not know.
    """
    if not isinstance(url, str):
        raise ConfigurationError(
            f"a Redis URL must be a str such as redis://localhost:6379/0, not {type(url).__name__}; "
            "is the variable set that it is read from?"
        )
    # urlsplit checks brackets and raises ValueErrors that quote the host part, password and all.
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(
            f"the Redis URL cannot be parsed; write redis://host:port/db and {_ENCODE}"
        ) from None
    if parts.scheme not in _SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        # Only what "://" follows is a scheme. Before a lone colon may stand a user, and a password behind it.
        given = f"{parts.scheme}://"
        found = f"begins with {given}" if parts.scheme and url.lower().startswith(given) else "has no scheme"
        raise ConfigurationError(f"a Redis URL begins with one of {known}; this one {found}")
    _check_encoded(url, parts)
    kind, tls = _SCHEMES[parts.scheme]
    options = _query(parts)
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, colon, password = credentials.partition(":")
    if username:
        options["username"] = unquote(username)
    if colon:
        options["password"] = unquote(password)
    sentinel_options = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in options
    }
    if sentinel_options and kind != "sentinel":
        raise ConfigurationError("only a redis+sentinel:// URL takes sentinel_username and sentinel_password")
    path, service = unquote(parts.path), ""
    if kind == "unix":
        if not path or hosts:
            raise ConfigurationError("a unix:// Redis URL needs an absolute path: unix:///run/redis.sock")
        return Target(kind=kind, name=f"unix://{path}", path=path, options={"db": 0} | options)
    nodes = tuple(_node(host, _PORTS[kind]) for host in hosts.split(","))
    if kind == "standalone" and len(nodes) > 1:
        raise ConfigurationError(
            "a redis:// URL names one server; for several use redis+sentinel:// or redis+cluster://"
        )
    segments = [segment for segment in path.split("/") if segment]
    if kind == "sentinel":
        if not segments:
            raise ConfigurationError(
                "a redis+sentinel:// URL needs the service's name: redis+sentinel://host/name/0"
            )
        service = segments.pop(0)
    if segments:
        if len(segments) > 1:
            raise ConfigurationError("a Redis URL's path is the database number and nothing else")
        options["db"] = _number(segments[0], "database number in its path")
    options.setdefault("db", 0)
    if kind == "cluster" and options.pop("db"):
        raise ConfigurationError("a Redis Cluster has only database 0; take the number off the URL")
    places = ",".join(f"{host}:{port}" for host, port in nodes)
    tail = f"/{service}" if service else ""
    tail += f"/{options['db']}" if "db" in options else ""
    return Target(
        kind=kind,
        name=f"{parts.scheme}://{places}{tail}",
        nodes=nodes,
        service=service,
        tls=tls,
        options=options,
        sentinel_options=sentinel_options,
    )


def _check_encoded(url: str, parts: SplitResult) -> None:
    if "#" in url:
        raise ConfigurationError(f"the Redis URL has a #, which means nothing in it; {_ENCODE}")
    if "@" in parts.path and parts.scheme != "unix":
        raise ConfigurationError(f"the Redis URL has an @ in its path, as if a password had a /; {_ENCODE}")


def _node(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):  # no port; an IPv6 address is in brackets
        host, port = text, ""
    host = unquote(host).strip("[]") or "localhost"
    number = _number(port, "port") if port else default_port
    if number > 65535:
        raise ConfigurationError("the Redis URL's port is above 65535")
    return host, number


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError(f"the Redis URL's {what} is not a number")
    return int(text)


def _query(parts: SplitResult) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "db":
            options[name] = _number(value, "option db")
        elif name in _TEXT or name in _SSL_TEXT:
            options[name] = value
        elif name == "ssl_check_hostname":
            options[name] = value.lower() not in ("0", "false", "no", "f", "n")
        elif name in _OWN:
            raise ConfigurationError(
                f"give {name.removeprefix('socket_')}= to from_url, not in the Redis URL"
            )
        elif re.fullmatch("[a-z_]+", name) and "@" not in parts.query:
            raise ConfigurationError(f"the Redis URL has an unknown option {name!r}")
        else:  # of a password that has a "?", this may be the rest
            raise ConfigurationError(f"the Redis URL has an unknown option after its ?; {_ENCODE}")
    return options
