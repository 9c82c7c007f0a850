"""Sealed values: encrypted and authenticated with AES-SIV (RFC 5297), by a ring of keys.

* What is sealed twice is the same bytes twice: a store can compare it, and no nonce can be used up. All that
  this tells is that a value is what it was before; a ``context`` keeps it from telling more, and from being
  opened anywhere else than where it was sealed.
* A sealed value begins with a byte that no MessagePack has, and the id of its key. What is plain, what needs
  a key that is not there, and what was changed are therefore three things.
* Each secret is stretched to its own key by HKDF-SHA256. A secret must be random: this does not make a good
  key of a bad password.
"""

from typing import Literal

from scalekit._signing import key_ring
from scalekit.errors import MissingExtra
from scalekit.sessions._sealed import MARK
from scalekit.types import SecretKey

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError:
    raise MissingExtra("encryption", needed_by="the encryption of sessions") from None

_KEY = 64  # bytes: AES-256 for the values, and another for their authentication
_ID = 4
_HEAD = len(MARK) + _ID

OVERHEAD = _HEAD + 16 + 1
"""By how many bytes a sealed value is longer."""


class Unsealed(Exception):
    """What cannot be opened, and ``why``: it is plain, its key is not in the ring, or it was changed."""

    def __init__(self, why: Literal["plain", "key", "changed"], *, key: str = "") -> None:
        self.why: Literal["plain", "key", "changed"] = why
        self.key = key
        super().__init__(why)


class Ring:
    """Seals with the last key, opens with each.

    Args:
        secrets: one or several, oldest first.
        purpose: keeps what is sealed for one purpose from being opened for another.
        option: what the ring was given as, for messages.

    Raises:
        ConfigurationError: the ring is empty, or a secret is too short.
    """

    def __init__(self, secrets: SecretKey, *, purpose: str, option: str) -> None:
        self._keys: dict[bytes, list[AESSIV]] = {}  # a list, for ids are short
        self._sealers: list[tuple[bytes, AESSIV]] = []
        for secret in reversed(dict.fromkeys(reversed(key_ring(secrets, option=option)))):
            material = HKDF(SHA256(), _KEY + _ID, salt=None, info=purpose.encode()).derive(secret)
            head, cipher = MARK + material[_KEY:], AESSIV(material[:_KEY])
            self._keys.setdefault(head, []).append(cipher)
            self._sealers.append((head, cipher))

    @property
    def ids(self) -> str:
        """The ids of the keys, oldest first, for messages. They give nothing away."""
        return ", ".join(head[len(MARK) :].hex() for head, _ in self._sealers)

    def seal(self, data: bytes, context: bytes) -> bytes:
        """``data``, to be opened with the same ``context`` only."""
        return _seal(self._sealers[-1], data, context)

    def seal_with_each(self, data: bytes, context: bytes) -> list[bytes]:
        """``data`` as each key of the ring seals it, the newest first."""
        return [_seal(sealer, data, context) for sealer in reversed(self._sealers)]

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """What was sealed.

        Raises:
            Unsealed: it was not by a key of this ring, or not with this ``context``.
        """
        if not sealed.startswith(MARK):
            raise Unsealed("plain")
        head = sealed[:_HEAD]
        if head not in self._keys:
            raise Unsealed("key", key=head[len(MARK) :].hex())
        for cipher in self._keys[head]:
            try:
                return cipher.decrypt(sealed[_HEAD:], [context])[1:]
            except InvalidTag:
                continue
        raise Unsealed("changed")


def _seal(sealer: tuple[bytes, AESSIV], data: bytes, context: bytes) -> bytes:
    head, cipher = sealer
    # One byte more, as not every OpenSSL seals nothing.
    return head + cipher.encrypt(b"\0" + data, [context])
