"""Django's settings, in a process of their own: there is one set a process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import environment
from tests.ops.doctor.apps import write

pytest.importorskip("django")

LOOK = """
import json, sys
from scalekit.ops.doctor import examine, load
found = examine(load("shop_site.py:application")).findings
print(json.dumps([one.as_dict() for one in found]))
"""

SITE = """
import os
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import path

carts = {{}}

def add(request):
    carts["a"] = 1
    return HttpResponse("ok")

settings.configure(ROOT_URLCONF=__name__, **{settings})
urlpatterns = [path("", {view})]
import django
django.setup()
application = WSGIHandler()
"""

BROKEN = {
    "DEBUG": True,
    "SECRET_KEY": "django-insecure-hush-hush-hush-hush",
    "CACHES": {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
    "INSTALLED_APPS": ["django.contrib.sessions", "django.contrib.staticfiles"],
    "MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"],
    "STATIC_URL": "/static/",
    "STATIC_ROOT": "/nowhere/static",
    "MEDIA_ROOT": "/",
}

HEALTHY = BROKEN | {
    "DEBUG": False,
    "SECRET_KEY": "0123456789abcdef0123456789abcdef",
    "CACHES": {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://"}},
    "STORAGES": {
        "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
    },
}


def look(folder: Path, settings: object, view: str) -> list[dict[str, str]]:
    write(folder, SITE.format(settings=settings, view=view), "shop_site.py")
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "hush" not in done.stdout
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def test_settings_that_are_for_developers(tmp_path: Path) -> None:
    """Debugging, a secret of the code, sessions and caches in memory, files on this disk and without hashes,
    and what views keep to themselves."""
    found = sorted(one["code"] for one in look(tmp_path, BROKEN, "add"))
    assert found == [
        "assets-without-hash",
        "debug-on",
        "disk-storage",
        "drain-missing",
        "process-cache",
        "process-sessions",
        "process-variable",
        "secret-known",
    ]


def test_settings_that_are_for_a_fleet(tmp_path: Path) -> None:
    """Nothing is found but that nothing drains."""
    found = look(tmp_path, HEALTHY, "lambda request: HttpResponse('ok')")
    assert [one["code"] for one in found] == ["drain-missing"]


def test_the_session_store_of_the_settings_is_asked(tmp_path: Path) -> None:
    """scalekit's engine is known by its setting; the order of MIDDLEWARE is looked at, too."""
    pytest.importorskip("redis")
    settings = HEALTHY | {
        "SESSION_ENGINE": "scalekit.sessions.django",
        "SCALEKIT_SESSION_STORE": "redis://:hush@127.0.0.1:1/0",
        "MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"] * 2,
    }
    found = look(tmp_path, settings, "lambda request: HttpResponse('ok')")
    assert [one["code"] for one in found] == ["redis-unreachable", "sessions-twice", "drain-missing"]
