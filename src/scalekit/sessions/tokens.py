"""Session tokens: what the browser holds, and what the store knows of it.

* A token is 256 random bits, as 43 URL-safe characters.
* The cookie is the token and its signature, in the format of itsdangerous. A cookie that somebody made up
  is refused here, by arithmetic, and costs no access to the store.
* The store knows a session by the SHA-256 of its token: who reads the store cannot use what is in it.
"""

import hashlib
import hmac
import secrets
from functools import lru_cache

from scalekit._signing import macs
from scalekit.types import SecretKey

SALT = "scalekit.sessions"

_TOKEN_LENGTH = 43  # 32 bytes in base64 without padding; the signature has as many
_COOKIE_LENGTH = 2 * _TOKEN_LENGTH + 1
_REMEMBERED = 4096  # cookies whose signature was looked at last: a page makes many requests


@lru_cache(_REMEMBERED)
def store_id(token: str) -> str:
    """The name of the session in the store: 64 hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens:
    """Makes and checks the cookies of one key ring.

    Args:
        secret_key: one secret or a key ring, oldest first: all verify, the last one signs.

    Raises:
        ConfigurationError: the ring is empty, or a key is too short.
    """

    def __init__(self, secret_key: SecretKey) -> None:
        self._macs = macs(secret_key, salt=SALT)
        self._signed = lru_cache(_REMEMBERED)(self._check)

    def mint(self) -> str:
        """A new token."""
        return secrets.token_urlsafe(32)

    def sign(self, token: str) -> str:
        """The cookie's value for ``token``, signed with the newest key."""
        return f"{token}.{self._macs[0](token.encode()).decode()}"

    def verify(self, cookie: str) -> str | None:
        """The token in a cookie's value, or ``None`` if we did not make it."""
        # The length first: what somebody else made may be huge.
        return self._signed(cookie) if len(cookie) == _COOKIE_LENGTH else None

    def _check(self, cookie: str) -> str | None:
        if cookie[_TOKEN_LENGTH] != "." or not cookie.isascii():
            return None
        token = cookie[:_TOKEN_LENGTH]
        given, text = cookie[_TOKEN_LENGTH + 1 :].encode(), token.encode()
        for mac in self._macs:
            # Compared as text, so that one token has exactly one cookie.
            if hmac.compare_digest(mac(text), given):
                return token
        return None
