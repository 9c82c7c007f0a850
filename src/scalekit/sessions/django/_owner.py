"""Whose a session of Django is, in the words of the user model."""

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured, ValidationError  # type: ignore[import-untyped]

from scalekit.sessions.owner import encode_user


def owner_of(value: Any) -> bytes | None:
    """The owner as stores have it.

    Args:
        value: ``_auth_user_id`` of the session: the primary key as text, whatever its type is. The owner is
            ``user.pk``, as that is what an application asks for; text where that is no str, int or UUID.
    """
    if value is None:
        return None
    try:
        user_id = get_user_model()._meta.pk.to_python(value)
    except (ImproperlyConfigured, ValidationError):
        user_id = value  # no user model of Django's, or one that has changed since
    return encode_user(user_id if type(user_id) in (str, int, UUID) else str(value))
