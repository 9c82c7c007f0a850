"""``scalekit.cdn.django`` in ``INSTALLED_APPS``: its template tag, and Django checks the settings."""

from typing import Any

from django.apps import AppConfig  # type: ignore[import-untyped]
from django.contrib.staticfiles.storage import (  # type: ignore[import-untyped]
    staticfiles_storage,
)
from django.core import checks  # type: ignore[import-untyped]

from scalekit.cdn.django.storage import AssetStorage
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
        ours = isinstance(staticfiles_storage, AssetStorage)
    except ConfigurationError as error:
        return [checks.Error(str(error), id="scalekit.E011")]
    if ours:
        return []
    # No error: for its tests a project may have Django's own, which needs no collectstatic.
    hint = "set its BACKEND to 'scalekit.cdn.django.AssetStorage'"
    return [checks.Warning("STORAGES['staticfiles'] has no hashed URLs", hint=hint, id="scalekit.W011")]
