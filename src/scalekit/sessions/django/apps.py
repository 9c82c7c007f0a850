"""``scalekit.sessions.django`` in ``INSTALLED_APPS``: Django checks the settings."""

import itertools
from typing import Any

from django.apps import AppConfig  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.core import checks  # type: ignore[import-untyped]

from scalekit.errors import ConfigurationError
from scalekit.sessions.django._settings import configuration

OURS = "scalekit.sessions.django.UnavailableMiddleware"
THEIRS = "django.contrib.sessions.middleware.SessionMiddleware"


class Sessions(AppConfig):  # type: ignore[misc]
    """An application without models, that has Django check the settings. It asks no server."""

    name = "scalekit.sessions.django"
    label = "scalekit_sessions"

    def ready(self) -> None:
        checks.register(check_settings)


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """What is wrong with the settings."""
    try:
        configuration()
    except ConfigurationError as error:
        return [checks.Error(str(error), id="scalekit.E001")]
    middlewares = [*settings.MIDDLEWARE]
    if (OURS, THEIRS) in itertools.pairwise(middlewares) or THEIRS not in middlewares:
        return []
    hint = f"put {OURS!r} right before {THEIRS!r} in MIDDLEWARE"
    return [checks.Warning("an outage of the session store is a 500", hint=hint, id="scalekit.W001")]
