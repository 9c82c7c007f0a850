"""Private content on Amazon CloudFront: URLs and cookies that are good for some visitors, for some time.

Needs the extra ``s3``, whose botocore writes the policies and the URLs, and ``encryption`` for a key in PEM.

Rules:

* A URL that only says when it ends has a canned policy, which is not in it; one that says more (from when,
  for which addresses, for other URLs too) carries its policy. CloudFront tells one from the other.
* What is signed is the URL as a browser sends it, so a URL is encoded first, as a browser would.
* To rotate keys: add the new public key to the key group, sign with the new key everywhere, and remove the
  old one when the last URL that it has signed has ended. Each URL and cookie names its key.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlsplit

from scalekit._amazon import CloudFrontSigner
from scalekit._durations import Duration, seconds
from scalekit._http import Cookie
from scalekit._options import check_function, check_kind, check_text
from scalekit.errors import ConfigurationError

_OURS = {"expires", "policy", "signature", "key-pair-id", "hash-algorithm"}
_COOKIES = ("Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm")
_SAFE = "/%:@!$&'()*+,;=~?"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of a CloudFront key group.

    Args:
        id: the ID of the public key, such as ``"K2JCJMDEHXQW5F"``.
        sign: from a message to its signature, RSA with PKCS #1 v1.5: what botocore calls ``rsa_signer``. It
            may ask a key management service.
        hash: what ``sign`` hashes with, ``"SHA1"`` (the default, as for botocore) or ``"SHA256"``.

    Raises:
        ConfigurationError: one of these is not usable.
    """

    id: str
    sign: Callable[[bytes], bytes] = field(repr=False)
    hash: Literal["SHA1", "SHA256"] = "SHA1"

    def __post_init__(self) -> None:
        check_text(self.id, option="id", wanted="the ID of a public key, such as 'K2JCJMDEHXQW5F'")
        if not self.id.isascii() or not self.id.isalnum():
            raise ConfigurationError(f"{self.id!r:.60} is no ID of a public key, such as 'K2JCJMDEHXQW5F'")
        check_function(self.sign, option="sign", wanted="a function from a message to its signature")
        if self.hash not in ("SHA1", "SHA256"):
            raise ConfigurationError(f"hash={self.hash!r:.20} must be 'SHA1' or 'SHA256'")

    @classmethod
    def from_pem(cls, id: str, pem: str | bytes, *, password: str | bytes | None = None) -> "SigningKey":
        """The key in a PEM file, RSA of 2,048 bits at least or ECDSA on P-256. It signs with SHA-256.

        Args:
            id: the ID of its public key.
            pem: the content of the file.
            password: what it is encrypted with, if it is.

        Raises:
            ConfigurationError: it is no such key, or the password is wrong.
            MissingExtra: ``cryptography`` is not installed.
        """
        from scalekit.cdn._rsa import signer

        secret = password.encode() if isinstance(password, str) else password
        return cls(id, signer(pem.encode() if isinstance(pem, str) else pem, secret), "SHA256")


class Signer:
    """Signs URLs and cookies for private content.

    >>> signer = Signer(SigningKey.from_pem("K2JCJMDEHXQW5F", Path("private.pem").read_bytes()))
    >>> signer.url("https://d111111abcdef8.cloudfront.net/report.pdf", expires=timedelta(hours=1))
    'https://d111111abcdef8.cloudfront.net/report.pdf?Expires=1767290400&Signature=...&Key-Pair-Id=...'

    Args:
        key: which signs; CloudFront takes that of any key in the group.
        clock: seconds since 1970, as ``time.time`` gives them, the default.
    """

    def __init__(self, key: SigningKey, *, clock: Callable[[], float] | None = None) -> None:
        check_kind(key, SigningKey, option="key", wanted="a SigningKey, such as SigningKey.from_pem(id, pem)")
        self._key = key
        self._signer = CloudFrontSigner(key.id, key.sign)
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Signer with key {self._key.id}>"

    def url(
        self,
        url: str,
        *,
        expires: Duration | datetime,
        resource: str | None = None,
        not_before: Duration | datetime | None = None,
        ip: str | None = None,
    ) -> str:
        """``url`` with a signature.

        Args:
            url: with ``https://`` and the host of the distribution, or one of its other names.
            expires: when it ends: seconds or a ``timedelta`` from now on, or a ``datetime`` with a time zone.
                A download that has begun goes on.
            resource: the URLs that the signature is good for, with ``*`` for any characters and ``?`` for
                one; by default ``url`` alone.
            not_before: when it begins, likewise; by default it is good at once.
            ip: the visitor's IPv4 address, or a network such as ``"192.0.2.0/24"``; by default any.

        Raises:
            ConfigurationError: one of these is not usable.
        """
        signed = _encoded(url, option="url")
        if "*" in signed.partition("?")[0]:
            raise ConfigurationError(f"url={url!r:.100} has a wildcard; that goes into resource=")
        return self._signed(signed, self._policy(resource or url, resource, expires, not_before, ip))

    def cookies(
        self,
        resource: str,
        *,
        expires: Duration | datetime,
        not_before: Duration | datetime | None = None,
        ip: str | None = None,
        path: str = "/",
        domain: str | None = None,
        secure: bool = True,
        http_only: bool = True,
        same_site: Literal["lax", "strict", "none"] = "lax",
    ) -> list[str]:
        """The values of three or four ``Set-Cookie`` headers; they end with the browser's session.

        Args:
            resource: the URLs that they are good for, such as ``"https://media.example.com/course-7/*"``.
            expires: as for :meth:`url`.
            not_before: as for :meth:`url`.
            ip: as for :meth:`url`.
            path: the cookies' ``Path``; default ``"/"``.
            domain: the cookies' ``Domain``, which page and distribution share: ``"example.com"``. By default
                they are for the host that sets them.
            secure: default ``True``.
            http_only: default ``True``.
            same_site: default ``"lax"``.

        Raises:
            ConfigurationError: one of these is not usable.
        """
        whole = _encoded(resource, option="resource")
        wildcard = resource if "*" in whole or "?" in whole else None
        signed = self._signed(
            whole.partition("?")[0], self._policy(resource, wildcard, expires, not_before, ip)
        )
        values = dict(parse_qsl(urlsplit(signed).query))
        return [
            _cookie(name, path, domain, secure, http_only, same_site).set(values[name], https=secure).decode()
            for name in _COOKIES
            if name in values
        ]

    def expired_cookies(self, *, path: str = "/", domain: str | None = None) -> list[str]:
        """The values of ``Set-Cookie`` headers that remove what :meth:`cookies` has set there."""
        return [
            _cookie(name, path, domain, True, True, "lax").delete(https=True).decode() for name in _COOKIES
        ]

    def _policy(
        self,
        url: str,
        resource: str | None,
        expires: Duration | datetime,
        not_before: Duration | datetime | None,
        ip: str | None,
    ) -> tuple[datetime | None, str | None]:
        """When it ends, for a canned policy; or a policy that says it all."""
        end = self._moment(expires, name="expires")
        begin = None if not_before is None else self._moment(not_before, name="not_before")
        if begin is not None and begin >= end:
            raise ConfigurationError("not_before= is not before expires=: it would never be good")
        if resource is None and begin is None and ip is None:
            return end, None
        signed = _encoded(url, option="resource")
        return None, self._signer.build_policy(signed, end, begin, None if ip is None else _network(ip))

    def _signed(self, url: str, policy: tuple[datetime | None, str | None]) -> str:
        end, custom = policy
        signed: str = self._signer.generate_presigned_url(url, date_less_than=end, policy=custom)
        return signed if self._key.hash == "SHA1" else f"{signed}&Hash-Algorithm={self._key.hash}"

    def _moment(self, value: Duration | datetime, *, name: str) -> datetime:
        now = datetime.now(UTC) if self._clock is None else datetime.fromtimestamp(self._clock(), UTC)
        if not isinstance(value, datetime):
            least = 1.0 if name == "expires" else 0.0
            return now + timedelta(seconds=seconds(value, name=name, minimum=least))
        if value.tzinfo is None:
            raise ConfigurationError(f"{name}= has no time zone; use datetime.now(UTC) + timedelta(...)")
        if name == "expires" and value <= now:
            raise ConfigurationError("expires= is over already")
        return value


def _cookie(
    name: str, path: str, domain: str | None, secure: bool, http_only: bool, same_site: Any
) -> Cookie:
    return Cookie(
        name=f"CloudFront-{name}",
        path=path,
        domain=domain,
        secure=secure,
        http_only=http_only,
        same_site=same_site,
        host_prefix=False,
    )


def _encoded(url: str, *, option: str) -> str:
    check_text(
        url, option=f"{option}=", wanted="a URL, such as 'https://d111111abcdef8.cloudfront.net/a.pdf'"
    )
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigurationError(f"{option}= has a user name or password in it; give the address alone")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(
            f"{option}={url!r:.100} must be a URL, such as 'https://d111111abcdef8.cloudfront.net/a.pdf'"
        )
    if parts.fragment:
        raise ConfigurationError(f"{option}={url!r:.100} has a fragment, which no browser sends")
    if _OURS & {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}:
        raise ConfigurationError(f"{option}= is signed already, or has a parameter of the same name")
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{quote(parts.path or '/', safe=_SAFE)}{query}"


def _network(ip: str) -> str:
    try:
        return str(IPv4Network(ip, strict=False))
    except ValueError:
        raise ConfigurationError(
            f"ip={ip!r:.60} is no IPv4 address or network, such as '192.0.2.0/24'; CloudFront knows no others"
        ) from None
