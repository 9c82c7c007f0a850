"""Session tokens: what the browser holds, and what the store knows of it.

* A token is 256 random bits, as 43 URL-safe characters.
* The cookie is the token and its signature, in the format of itsdangerous. A cookie that somebody made up
  is refused here, by arithmetic, and costs no access to the store.
* The store knows a session by the SHA-256 of its token: who reads the store cannot use what is in it.
"""

import base64
import hashlib
import hmac
import secrets

from scalekit._signing import signer
from scalekit.types import SecretKey

SALT = "scalekit.sessions"

_TOKEN_LENGTH = 43  # 32 bytes in base64 without padding; the signature has as many
_COOKIE_LENGTH = 2 * _TOKEN_LENGTH + 1


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
        ring = signer(secret_key, salt=SALT)
        # itsdangerous derives the keys anew for each signature; done once, a check takes a fifth of the time.
        self._macs = [
            hmac.new(ring.derive_key(key), digestmod=hashlib.sha256) for key in reversed(ring.secret_keys)
        ]

    def mint(self) -> str:
        """A new token."""
        return secrets.token_urlsafe(32)

    def sign(self, token: str) -> str:
        """The cookie's value for ``token``, signed with the newest key."""
        return f"{token}.{_signature(self._macs[0], token.encode()).decode()}"

    def verify(self, cookie: str) -> str | None:
        """The token in a cookie's value, or ``None`` if we did not make it."""
        # The length first: what somebody else made may be huge.
        if len(cookie) != _COOKIE_LENGTH or cookie[_TOKEN_LENGTH] != "." or not cookie.isascii():
            return None
        token = cookie[:_TOKEN_LENGTH]
        given, text = cookie[_TOKEN_LENGTH + 1 :].encode(), token.encode()
        for mac in self._macs:
            # Compared as text, so that one token has exactly one cookie.
            if hmac.compare_digest(_signature(mac, text), given):
                return token
        return None


def _signature(mac: hmac.HMAC, value: bytes) -> bytes:
    mac = mac.copy()
    mac.update(value)
    return base64.urlsafe_b64encode(mac.digest()).rstrip(b"=")
