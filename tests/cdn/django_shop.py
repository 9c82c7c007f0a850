"""A project of Django with our storage: ``python -m tests.cdn.django_shop COMMAND`` is its ``manage.py``.

``serve`` answers the paths that follow, under WSGI and under ASGI, as JSON. The environment has the folder of
the project and the options; a process of its own, for Django has one set of settings a process.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import execute_from_command_line

HOME = Path(os.environ["SHOP"])
ADMIN = os.environ.get("ADMIN") == "1"  # it has 130 files
BACKEND = os.environ.get("BACKEND", "scalekit.cdn.django.AssetStorage")

settings.configure(
    SECRET_KEY="of a test",
    DEBUG=os.environ.get("DEBUG") == "1",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    STATIC_URL=os.environ.get("STATIC_URL", "/static/"),
    STATIC_ROOT=HOME / "collected",
    STATICFILES_DIRS=[HOME / "static"],
    STORAGES={
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": BACKEND, "OPTIONS": json.loads(os.environ.get("OPTIONS", "{}"))},
    },
    INSTALLED_APPS=[
        *(["django.contrib.admin"] if ADMIN else []),
        *(f"django.contrib.{name}" for name in ("auth", "contenttypes", "sessions", "messages")),
        "django.contrib.staticfiles",
        "scalekit.cdn.django",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.template import engines  # noqa: E402
from django.templatetags.static import static  # noqa: E402
from django.urls import path  # noqa: E402

from scalekit.cdn import asgi, wsgi  # noqa: E402
from scalekit.cdn.django import get_assets  # noqa: E402
from tests.cdn.drivers import Reply, call_asgi, call_wsgi  # noqa: E402

PAGE = """{% load static scalekit %}{% asset "logo.png" %} {% static "logo.png" %}
{% asset "a&b.png" as other %}{{ other }} {% static "css/site.css" %}"""


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse(engines["django"].from_string(PAGE).render({}, request), content_type="text/plain")


def written(request: HttpRequest) -> HttpResponse:
    """A page of an application that knows nothing of a storage."""
    return HttpResponse('<img src="/static/logo.png">')


def url(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(static(name), content_type="text/plain")


urlpatterns = [path("", home), path("written", written), path("url/<path:name>", url)]
if ADMIN:
    from django.contrib import admin

    urlpatterns.append(path("admin/", admin.site.urls))


def of(reply: Reply) -> dict[str, Any]:
    return {"status": reply.status, "headers": reply.headers, "body": reply.body.decode("latin-1")}


async def both(paths: list[str], bare: bool) -> dict[str, list[dict[str, Any]]]:
    wsgi_app, asgi_app = get_wsgi_application(), get_asgi_application()
    if not bare:
        wsgi_app = wsgi.AssetMiddleware(wsgi_app, assets=get_assets())
        asgi_app = asgi.AssetMiddleware(asgi_app, assets=get_assets())
    return {
        "wsgi": [of(await asyncio.to_thread(call_wsgi, wsgi_app, url)) for url in paths],
        "asgi": [of(await call_asgi(asgi_app, url)) for url in paths],
    }


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        print(json.dumps(asyncio.run(both(sys.argv[2:], bare=settings.DEBUG))))
    else:
        execute_from_command_line(sys.argv)
