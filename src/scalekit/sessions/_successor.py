"""The token of a session that another one was rotated to, for whoever comes with the token from before.

The store must not know it, and the answer that carried it may be lost. So the new session keeps it encrypted
with the old one, of which the store has no more than a hash. It is encrypted with a key that is used for
nothing else (a one-time pad), and checked against the id that the store has.
"""

import base64
import hashlib
import hmac

from scalekit.sessions.tokens import store_id

_PURPOSE = b"scalekit.sessions.successor\0"


def seal(token: str, *, old: str) -> bytes:
    """``token``, which was minted here, for who has the token ``old``."""
    return _xor(base64.urlsafe_b64decode(token + "="), _pad(old, store_id(token)))


def unseal(sealed: bytes, *, old: str, id: str) -> str | None:
    """The token of the session ``id``; ``None`` if this is not what was sealed for who has ``old``."""
    try:
        data = _xor(sealed, _pad(old, id))
    except ValueError:
        return None
    token = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    return token if store_id(token) == id else None


def _pad(old: str, id: str) -> bytes:
    # The id as well, as one session may be rotated twice at the same time.
    return hmac.digest(old.encode(), _PURPOSE + id.encode(), hashlib.sha256)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
