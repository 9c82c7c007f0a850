"""Tokens against cross-site request forgery, made of the session's origin: nothing is stored for them.

* A token is the HMAC of the id that the session had when it began, by a key of its own from the ring of the
  middleware. It is worth something in that one session, under whatever ids it is rotated to: a page that
  another tab still shows does not become useless. A log-in or log-out begins another session, in which it is
  worth nothing: whoever has planted a session in the browser knows its tokens.
* It is masked with fresh random bytes each time, so that a page that is compressed does not give it away
  letter by letter (BREACH).
* Older keys of the ring still check; the newest makes.
"""

import base64
import binascii
import hashlib
import hmac
import secrets

from scalekit._signing import signer
from scalekit.types import SecretKey

SALT = "scalekit.sessions.csrf"

_SIZE = 32  # bytes of the HMAC, and of the mask
_LENGTH = 86  # characters of both in base64 without padding


class CSRF:
    """Makes and checks the tokens of one key ring.

    Args:
        secret_key: one secret or a key ring, oldest first: all check, the last one makes.
    """

    def __init__(self, secret_key: SecretKey) -> None:
        ring = signer(secret_key, salt=SALT)
        self._keys = [ring.derive_key(key) for key in reversed(ring.secret_keys)]

    def token(self, origin: str) -> str:
        """A token for the session that began under this id; another text each time."""
        mask = secrets.token_bytes(_SIZE)
        masked = mask + _xor(mask, _mac(self._keys[0], origin))
        return base64.urlsafe_b64encode(masked).rstrip(b"=").decode()

    def check(self, value: object, origin: str) -> bool:
        """Whether ``value`` is a token for that session. Anything may be asked for; it raises nothing."""
        if not isinstance(value, str) or len(value) != _LENGTH or not value.isascii():
            return False
        try:
            masked = base64.b64decode(value + "==", altchars="-_", validate=True)
        except binascii.Error:
            return False
        if len(masked) != 2 * _SIZE:  # padding is a character, too, and makes fewer bytes
            return False
        mac = _xor(masked[:_SIZE], masked[_SIZE:])
        # With each key, so that the time tells nothing of which one it was.
        found = [hmac.compare_digest(_mac(key, origin), mac) for key in self._keys]
        return any(found)


def _mac(key: bytes, origin: str) -> bytes:
    return hmac.digest(key, origin.encode(), hashlib.sha256)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
