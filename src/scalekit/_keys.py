"""Key rings: one secret or several, checked once when a piece is set up, with no third party."""

from collections.abc import Iterable

from scalekit.errors import ConfigurationError
from scalekit.types import SecretKey

_MIN_BYTES = 16


def key_ring(secret_key: SecretKey, *, option: str = "secret_key") -> list[bytes]:
    """``secret_key`` as a list of keys, oldest first; the last one signs, all of them verify.

    Args:
        secret_key: one secret or several.
        option: what it was given as, for messages.

    Raises:
        ConfigurationError: the ring is empty, or a key is no text or shorter than 16 bytes. Keys are not
            quoted.
    """
    if secret_key is None:
        raise ConfigurationError(f"{option} is None; is the variable set that it is read from?")
    if not isinstance(secret_key, Iterable):
        raise ConfigurationError(
            f"{option} must be str, bytes or a list of them, not {type(secret_key).__name__}"
        )
    if isinstance(secret_key, str | bytes):
        keys: list[str | bytes] = [secret_key]
        names = [option]
    else:
        keys = [*secret_key]
        names = [f"{option} number {position + 1}" for position in range(len(keys))]
    for name, key in zip(names, keys, strict=True):
        if not isinstance(key, str | bytes):
            raise ConfigurationError(f"{name} must be str or bytes, not {type(key).__name__}")
    ring = [key.encode() if isinstance(key, str) else key for key in keys]
    if not ring:
        raise ConfigurationError(f"{option} is an empty list; give at least one key")
    for name, key in zip(names, ring, strict=True):
        if len(key) < _MIN_BYTES:
            raise ConfigurationError(
                f"{name} has {len(key)} bytes, at least {_MIN_BYTES} are needed; "
                'make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
    return ring
