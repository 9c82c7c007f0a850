"""``scalekit.cdn.django`` in ``INSTALLED_APPS``: its template tag, and Django checks the settings."""

from typing import Any

from django.apps import AppConfig  # type: ignore[import-untyped]
from django.core import checks  # type: ignore[import-untyped]

from scalekit.cdn.django.storage import check_storage
from scalekit.errors import ConfigurationError


class Cdn(AppConfig):  # type: ignore[misc]
    """An application without models."""

    name = "scalekit.cdn.django"
    label = "scalekit_cdn"

    def ready(self) -> None:
        checks.register(check_settings, "staticfiles")


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """What is wrong with the settings. It looks at no file: nothing may be collected yet."""
    try:
        check_storage()
    except ConfigurationError as error:
        return [checks.Error(str(error), id="scalekit.E011")]
    return []
