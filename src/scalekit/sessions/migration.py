"""The cookies of other session middlewares, read once, so that a change to this one logs nobody out.

Hand them to a shell: ``SessionMiddleware(..., migrate=[StarletteCookie(secret_key=OLD_SECRET)])``. Rules:

* A cookie counts if the old application would have taken it: the signature, the salt and the age are checked
  as there. One that does not count is nothing, and costs no access to the store.
* What a cookie holds comes back as the types that it was. A value that cannot be stored is left out, and the
  log names its key; the visitor stays logged in.
* The token of the new session follows from what was signed, by the key that signed it. So two requests that
  bring one cookie at once come to one session. The signature itself is not taken for it, as base64 has many
  spellings of one; nor is our own key ring, as that may change while the old key no longer does.
"""

import base64
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

from itsdangerous import BadData, TimestampSigner

from scalekit._durations import Duration, seconds
from scalekit._http import Cookie
from scalekit.errors import ConfigurationError
from scalekit.types import SecretKey

UserOf: TypeAlias = Callable[[Mapping[str, Any]], "str | int | UUID | None"]
"""Who is logged in, by the values of an old session."""

_SALT = b"scalekit.sessions.migration:"
_MAX_SIZE = 1024 * 1024  # of what a few KB of cookie are inflated to


class Unreadable(Exception):
    """A cookie that the old application has signed, and that is no session of the format that was named."""


class Signed(NamedTuple):
    """What a valid cookie holds.

    Attributes:
        payload: the signed bytes, without the time.
        token: the token of the session that it becomes.
        mark: another one, for the note that it was moved.
        left: milliseconds until it is too old.
    """

    payload: bytes
    token: str
    mark: str
    left: int


@dataclass(frozen=True, kw_only=True)
class LegacyCookie:
    """What :class:`StarletteCookie` and :class:`FlaskCookie` have in common.

    Args:
        secret_key: the secret of the old application; one, or several, oldest first.
        name: the cookie's name.
        path: its ``Path``. This and the next four are repeated when the cookie is deleted.
        domain: its ``Domain``; ``None`` (default) for none.
        secure: whether it is ``Secure``; ``None`` (default): under HTTPS.
        same_site: ``"lax"`` (default), ``"strict"`` or ``"none"``; ``"none"`` needs ``secure=True``.
        partitioned: whether it is ``Partitioned``; needs ``secure=True``.
        max_age: seconds or ``timedelta`` after which the old application refuses it.
        until: a moment, with its time zone, from which none is taken any more.
        user: gives the user of an old session, e.g. ``lambda data: data.get("_user_id")``, which becomes
            ``session.user_id``. Without it nobody is logged in as far as *this* package knows; what the
            application keeps in the session itself stays. A ``LookupError``, ``TypeError``, ``ValueError``
            or ``AttributeError`` that it raises is logged, and stands for nobody.
        keep: leave the cookie where it is until log-out, for as long as servers that run the old application
            still answer requests. Default: it is deleted when its session has been moved.

    Raises:
        ConfigurationError: a value that cannot be right.
    """

    secret_key: SecretKey = field(repr=False)
    name: str = "session"
    path: str = "/"
    domain: str | None = None
    secure: bool | None = None
    same_site: Literal["lax", "strict", "none"] = "lax"
    partitioned: bool = False
    max_age: Duration = timedelta(days=14)
    until: datetime | None = None
    user: UserOf | None = None
    keep: bool = False

    cookie: Cookie = field(init=False, repr=False)
    _age: int = field(init=False, repr=False)
    _signers: tuple[TimestampSigner, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.until is not None and not (isinstance(self.until, datetime) and self.until.tzinfo):
            raise ConfigurationError(f"until={self.until!r} must be a datetime with a zone, such as UTC")
        if self.user is not None and not callable(self.user):
            raise ConfigurationError('user= must be a function, such as lambda data: data.get("_user_id")')
        set_ = object.__setattr__
        cookie = Cookie(
            name=self.name,
            path=self.path,
            domain=self.domain,
            secure=self.secure,
            same_site=self.same_site,
            partitioned=self.partitioned,
            host_prefix=False,
        )
        set_(self, "cookie", cookie)
        set_(self, "_age", int(seconds(self.max_age, name="max_age", minimum=1)))
        keys = _keys(self.secret_key)
        set_(self, "secret_key", keys)
        set_(self, "_signers", tuple(map(self._signer, reversed(keys))))

    def verify(self, value: str, *, now: datetime | None = None) -> Signed | None:
        """What the cookie's ``value`` holds; ``None`` if it is forged, or too old."""
        now = now or datetime.now(UTC)
        if (self.until is not None and now >= self.until) or not value.isascii():
            return None
        for signer in self._signers:
            try:
                payload, signed_at = signer.unsign(value, max_age=self._age, return_timestamp=True)
            except BadData:
                continue
            ends = signed_at + timedelta(seconds=self._age + 1)  # an age is counted in whole seconds
            if self.until is not None:
                ends = min(ends, self.until)
            left = max(1, (ends - now) // timedelta(milliseconds=1))
            what, key = value.rpartition(".")[0].encode(), signer.derive_key()
            return Signed(payload, _derive(key, b"token:" + what), _derive(key, b"mark:" + what), left)
        return None

    def foreign(self, value: str) -> bool:
        """Whether none of the keys has signed the cookie's ``value``, however old it is."""
        return not any(value.isascii() and signer.validate(value) for signer in self._signers)

    def read(self, payload: bytes) -> dict[str, Any]:
        """The session in a signed ``payload``.

        Raises:
            Unreadable: there is none.
        """
        try:
            data = self._loads(payload)
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError, zlib.error) as error:
            raise Unreadable(f"it cannot be read ({type(error).__name__})") from error
        if not isinstance(data, dict):
            raise Unreadable(f"it holds a {type(data).__name__}, not a session")
        return data

    def _signer(self, key: bytes) -> TimestampSigner:
        raise NotImplementedError

    def _loads(self, payload: bytes) -> Any:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class StarletteCookie(LegacyCookie):
    """The cookie of Starlette's (and FastAPI's) ``SessionMiddleware``; see :class:`LegacyCookie`.

    What its ``session_cookie`` and ``https_only`` were is ``name`` and ``secure`` here; the other arguments
    have the names and defaults that they have there. If ``max_age`` was ``None``, say how old one may be.
    """

    def _signer(self, key: bytes) -> TimestampSigner:
        return TimestampSigner(key)

    def _loads(self, payload: bytes) -> Any:
        return json.loads(base64.b64decode(payload))


@dataclass(frozen=True, kw_only=True)
class FlaskCookie(LegacyCookie):
    """The cookie of Flask's own sessions; see :class:`LegacyCookie`.

    Args:
        max_age: Flask's ``PERMANENT_SESSION_LIFETIME``, 31 days by default. It bounds every cookie there.
        salt: the ``salt`` of its ``SecureCookieSessionInterface``.
        digest: the name of its ``digest_method``, as :func:`hashlib.new` knows it.
    """

    max_age: Duration = timedelta(days=31)
    salt: str = "cookie-session"
    digest: str = "sha1"

    def __post_init__(self) -> None:
        try:
            hashlib.new(self.digest)
        except (ValueError, TypeError):
            raise ConfigurationError(f"digest={self.digest!r} is no digest of hashlib; use 'sha1'") from None
        super().__post_init__()

    def _signer(self, key: bytes) -> TimestampSigner:
        def digest(data: bytes = b"") -> Any:
            return hashlib.new(self.digest, data)

        return TimestampSigner(key, salt=self.salt, key_derivation="hmac", digest_method=digest)

    def _loads(self, payload: bytes) -> Any:
        deflated = payload.startswith(b".")
        payload = payload[1:] if deflated else payload
        data = base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        if deflated:
            inflate = zlib.decompressobj()
            data = inflate.decompress(data, _MAX_SIZE)
            if not inflate.eof:
                raise ValueError("it is cut, or larger than any session")
        return _untagged(json.loads(data))


def _untagged(value: Any) -> Any:
    """JSON in which a dict of one key may stand for another type (Flask's ``TaggedJSONSerializer``)."""
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _untagged(item) for key, item in value.items()}
    if len(value) == 1:
        ((tag, item),) = value.items()
        if tag in _TAGS:
            return _TAGS[tag](item)
    return value


def _dict(value: dict[str, Any]) -> dict[str, Any]:
    # A dict that looked like a tag; it was given another name.
    ((key, item),) = value.items()
    return {key[:-2]: item}


def _markup(value: str) -> Any:
    try:
        from markupsafe import Markup  # it comes with Jinja, for those who use that
    except ModuleNotFoundError:
        return value  # text is escaped where it is shown, so nothing is lost but the looks
    return Markup(value)  # noqa: S704  the old application has signed that it was Markup


def _date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None  # as Flask does
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


_TAGS: dict[str, Callable[[Any], Any]] = {
    " di": _dict,
    " t": tuple,
    " b": base64.b64decode,
    " m": _markup,
    " u": UUID,
    " d": _date,
}


def _derive(key: bytes, text: bytes) -> str:
    digest = hmac.new(key, _SALT + text, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _keys(secret_key: SecretKey) -> tuple[bytes, ...]:
    """The keys of the old application; short ones too, as it is too late to choose others."""
    if isinstance(secret_key, str | bytes):
        keys: list[Any] = [secret_key]
    else:
        keys = [*secret_key] if isinstance(secret_key, Iterable) else []
    if not keys or not all(isinstance(key, str | bytes) and key for key in keys):
        raise ConfigurationError(
            "secret_key of a legacy cookie must be the old application's secret, or a list of its secrets"
        )
    return tuple(key.encode() if isinstance(key, str) else key for key in keys)
