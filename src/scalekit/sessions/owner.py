"""Who a session belongs to, and what it was begun from, as stores have it."""

from uuid import UUID

from scalekit.errors import SessionValueError
from scalekit.sessions import codec

MAX_DEVICE = 200  # characters
MAX_USER = 16_384  # bytes


def encode_user(user_id: str | int | UUID) -> bytes:
    """Who a session belongs to, as stores have it.

    Raises:
        SessionValueError: ``user_id`` is no str, int or UUID, or too long.
    """
    if type(user_id) not in (str, int, UUID):
        reason = f"a user id is a str, int or UUID, not {type(user_id).__qualname__}"
        raise SessionValueError(key="user_id", reason=reason)
    user = codec.encode("user_id", user_id)
    if len(user) > MAX_USER:
        reason = f"a user id of {len(user)} bytes; {MAX_USER} is the most"
        raise SessionValueError(key="user_id", reason=reason)
    return user


def decode_user(user: bytes) -> str | int | UUID:
    """What :func:`encode_user` was given."""
    user_id: str | int | UUID = codec.decode("user_id", user)
    return user_id


def device_name(device: bytes | None) -> str | None:
    """What a session was begun from, as stores have it, as text."""
    return None if device is None else device.decode(errors="replace")
