"""Only the CDN may reach the origin: it says a secret, in a header that visitors do not have.

Who finds the origin's address could else go round the CDN, with its firewall and its limits, and say any
address to be their own. Rules:

* A request without the secret is answered 403, before the application hears of it. Health paths are exempt:
  the balancer that asks for them is no CDN.
* Each of several secrets is as good as the others: to change one, add the new one everywhere, have the CDN
  say it, and then take the old one away.
* All of them are compared, each in constant time, so that the time it takes tells nothing.
* The application never sees the header. No message, log or ``repr`` has a secret in it.
* What the CDN says of its visitor (address, scheme, host) is taken over only if it has said the secret.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import NamedTuple

from scalekit._http import is_field_name
from scalekit._keys import key_ring
from scalekit._options import check_count
from scalekit.cdn import _addresses
from scalekit.cdn._counts import Counts
from scalekit.cdn._paths import Path, fits, path_patterns
from scalekit.cdn._reported import of_shield
from scalekit.errors import ConfigurationError
from scalekit.metrics import Metric
from scalekit.types import Headers, SecretKey

_log = logging.getLogger("scalekit.cdn")
_SECRET = re.compile(rb"[!-~]+")  # what a header brings as it is
_FEWEST = 6  # different characters: there are more in 16 that were drawn

BODY = b"Forbidden\n"


class Visitor(NamedTuple):
    """What the CDN says of whom it asks for; ``None`` where it says nothing that can be believed."""

    client: tuple[str, int] | None = None
    scheme: str | None = None
    host: bytes | None = None


_UNSAID = Visitor()


@dataclass(frozen=True, kw_only=True, eq=False)
class Shield:
    """What a request has to bring, and what is believed of it then. Checked when built.

    Args:
        secret: one secret or several, of which each is valid; at least 16 visible ASCII characters.
        header: the header that the CDN says it in.
        exempt: paths that need none, without what the application is mounted at: ``"/health/ready"`` is
            one, ``"/health/"`` (default) all below it, ``"/{$}"`` the home page alone.
        client: the header with the visitor's address, such as ``"X-Forwarded-For"``,
            ``"CloudFront-Viewer-Address"``, ``"Fastly-Client-IP"``, ``"True-Client-IP"`` or
            ``"CF-Connecting-IP"``. ``None`` (default): the address stays the one of the connection.
        hops: how many of the addresses in ``X-Forwarded-For`` were added by proxies of yours, counted from
            the right: 1 (default) if the CDN asks the server itself, 2 with a balancer between them.
        scheme: the header with ``http`` or ``https``, such as ``"CloudFront-Forwarded-Proto"``.
        host: the header with the host that the visitor asked for, such as ``"X-Forwarded-Host"``.

    Attributes:
        counts: requests by ``"secret 1"``, ``"secret 2"`` and so on, as which they were let in; by
            ``"exempt"``; refused ones by ``"missing"`` and ``"wrong"``; and ``"no address"`` of those that
            were let in.

    Raises:
        ConfigurationError: a secret is short, is there twice or cannot be sent; a header has no name.
    """

    secret: SecretKey = field(repr=False)
    header: str = "X-Origin-Secret"
    exempt: Iterable[str] = ("/health/",)
    client: str | None = None
    hops: int = 1
    scheme: str | None = None
    host: str | None = None
    counts: Counts = field(default_factory=Counts, init=False, repr=False)
    _ring: tuple[bytes, ...] = field(init=False, repr=False)
    _paths: tuple[Path, ...] = field(init=False, repr=False)
    _names: dict[str, bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_count(self.hops, option="hops=", least=1, cure="it counts the proxies of yours")
        names = {"header": self.header, "client": self.client, "scheme": self.scheme, "host": self.host}
        given = {option: name for option, name in names.items() if name is not None}
        for option, name in given.items():
            if not is_field_name(name):
                raise ConfigurationError(f"{option}={name!r:.60} is no name of a header")
            if "_" in name:
                raise ConfigurationError(
                    f"{option}={name!r:.60} has a '_', for which servers drop it; write '-' instead"
                )
        lower = {option: name.lower().encode() for option, name in given.items()}
        if lower["header"] in (b"authorization", b"cookie", b"host"):
            raise ConfigurationError(f"header={self.header!r}: the application needs it; use one of your own")
        if len(set(lower.values())) < len(lower):
            raise ConfigurationError("header=, client=, scheme= and host= name one header twice")
        object.__setattr__(self, "_names", lower)
        object.__setattr__(self, "_paths", path_patterns(self.exempt, option="exempt="))
        object.__setattr__(self, "_ring", _checked(self.secret))

    @property
    def name(self) -> bytes:
        """The header that the secret is in, in lower case."""
        return self._names["header"]

    def metrics(self) -> Iterator[Metric]:
        """The same as :attr:`counts`, see :class:`scalekit.metrics.Measured`."""
        return of_shield(self.counts.as_dict())

    def admits(self, path: str, headers: Headers) -> bool | None:
        """Whether a request may pass: ``True`` from the CDN, ``None`` because its path is exempt."""
        said = [value for name, value in headers if name == self.name]
        which = self._which(said[0]) if len(said) == 1 else 0
        if which:
            self.counts.add(f"secret {which}")
            return True
        if any(fits(path, pattern) is not None for pattern in self._paths):
            self.counts.add("exempt")
            return None
        reason = "wrong" if said else "missing"
        # The first of a kind is a mistake of the set-up, and all of those that follow the weather.
        level = logging.DEBUG if self.counts[reason] else logging.WARNING
        self.counts.add(reason)
        _log.log(level, "403 for %.200r: its header %s is %s", path, self.header, reason)
        return False

    def _which(self, said: bytes) -> int:
        matching = 0
        for number, secret in enumerate(self._ring, 1):  # all of them: no break
            matching = number if compare_digest(said, secret) else matching
        return matching

    def visitor(self, headers: Headers) -> Visitor:
        """What the CDN says of its visitor; only of a request that it has sent."""
        if len(self._names) == 1:
            return _UNSAID
        client = scheme = host = None
        if (name := self._names.get("client")) is not None:
            client = _addresses.visitor(headers, name, hops=self.hops)
            if client is None:
                self.counts.add("no address")
        if (name := self._names.get("scheme")) is not None:
            scheme = _addresses.scheme(headers, name)
        if (name := self._names.get("host")) is not None:
            host = _addresses.host(headers, name)
        return Visitor(client, scheme, host)


def refusal() -> tuple[Headers, bytes]:
    """Headers and body of the 403."""
    return [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(BODY)),
        (b"cache-control", b"no-store"),
    ], BODY


def _checked(secret: SecretKey) -> tuple[bytes, ...]:
    ring = key_ring(secret, option="secret")
    for number, one in enumerate(ring, 1):
        if not _SECRET.fullmatch(one):
            raise ConfigurationError(
                f"secret number {number} has characters that a header cannot bring (spaces, or none of ASCII)"
            )
        if len(set(one)) < _FEWEST:
            raise ConfigurationError(
                f"secret number {number} has fewer than {_FEWEST} different characters; make one with: "
                'python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        if one in ring[: number - 1]:
            raise ConfigurationError(
                f"secret number {number} is an earlier one again; to rotate, give the old and a new one"
            )
    return tuple(ring)
