"""The token that says what "fresh" means for one visitor.

Rules:

* A token names a place in one history: system identifier, timeline, position. Positions are compared
  only within one system and one timeline; anything else is no answer, never a yes.
* Tokens only move forward: a later timeline wins, then a later position.
* What a browser sends is believed after its signature and its expiry were checked, and read only up
  to a length that a token can have.
"""

import time
from dataclasses import dataclass

from itsdangerous import BadSignature

from scalekit._durations import Duration
from scalekit._signing import signer
from scalekit.database.levels import positive
from scalekit.types import SecretKey

_SALT = "scalekit.database"
_VERSION = "1"
# Four hexadecimal fields of at most 16 digits, the version, dots, and an HMAC-SHA256 in base64.
_LONGEST = 128


@dataclass(frozen=True, slots=True)
class Token:
    """A place in a database's history.

    Args:
        system: the server family's system identifier.
        timeline: counts promotions; positions on different timelines cannot be compared.
        position: bytes of write-ahead log.
    """

    system: int
    timeline: int
    position: int

    def same_history(self, other: "Token") -> bool:
        """Whether the two positions can be compared."""
        return (self.system, self.timeline) == (other.system, other.timeline)

    def __str__(self) -> str:
        return f"timeline {self.timeline}, {self.position >> 32:X}/{self.position & 0xFFFFFFFF:X}"


def latest(first: Token | None, second: Token | None) -> Token | None:
    """The later of two tokens; ``second`` when they belong to different systems."""
    if first is None or second is None:
        return first or second
    if first.system != second.system:
        return second
    return max(second, first, key=lambda token: (token.timeline, token.position))


class TokenSigner:
    """Tokens as text that a visitor can carry and not change.

    Args:
        secret_key: one secret or a key ring, oldest first; at least 16 bytes each.
        max_age: how long a token counts, in seconds or as a ``timedelta``; ten minutes by default. Longer
            than any lag that the cluster tolerates (``max_lag``), or the promise ends before the lag does.

    Raises:
        ConfigurationError: a key is too short, or ``max_age`` is not positive.
    """

    def __init__(self, secret_key: SecretKey, *, max_age: Duration = 600) -> None:
        self._signer = signer(secret_key, salt=_SALT)
        self.max_age = positive(max_age, name="max_age")

    def dumps(self, token: Token) -> str:
        """``token`` as text for a cookie or a header; it expires ``max_age`` from now."""
        expires = int(time.time() + self.max_age)
        fields = (token.system, token.timeline, token.position, expires)
        return self._signer.sign(".".join([_VERSION, *(f"{field:x}" for field in fields)])).decode("ascii")

    def loads(self, text: str) -> Token | None:
        """The token in ``text``, or ``None`` when it is forged, expired or malformed."""
        if len(text) > _LONGEST or not text.isascii():
            return None
        try:
            version, *fields = self._signer.unsign(text).decode("ascii").split(".")
        except BadSignature:
            return None
        # From here on the text is our own, though perhaps a later version's.
        if version != _VERSION or len(fields) != 4:
            return None
        system, timeline, position, expires = (int(field, 16) for field in fields)
        return Token(system, timeline, position) if time.time() < expires else None
