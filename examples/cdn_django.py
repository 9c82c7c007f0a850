"""Assets from a CDN under Django: a storage in the settings, and a middleware around the application.

    python -m examples.cdn_django
    curl localhost:8000/
    curl -I localhost:8000/static/logo.svg

Set CDN to the address of one. `manage.py collectstatic`, which this file runs itself, hashes and compresses.
"""

import os
import tempfile
from pathlib import Path
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path

from scalekit.cdn.django import get_assets
from scalekit.cdn.wsgi import AssetMiddleware

WORK = Path(tempfile.mkdtemp())

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "the same long secret on every server"),
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    INSTALLED_APPS=["django.contrib.staticfiles", "scalekit.cdn.django"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    STATIC_URL="/static/",
    STATICFILES_DIRS=[Path(__file__).with_name("static")],
    STATIC_ROOT=WORK / "collected",
    STORAGES={
        "staticfiles": {
            "BACKEND": "scalekit.cdn.django.AssetStorage",
            "OPTIONS": {"built": WORK / "dist", "cdn": os.environ.get("CDN") or None},
        }
    },
)
django.setup()

PAGE = """{% load static scalekit %}<!DOCTYPE html>
<link rel="stylesheet" href="{% static "site.css" %}"><title>Assets</title>
<h1>Hello</h1><img src="{% asset "logo.svg" %}" alt="A basket" width="64">
"""


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse(engines["django"].from_string(PAGE).render({}, request))


urlpatterns = [path("", home)]

if __name__ == "__main__":
    call_command("collectstatic", interactive=False, verbosity=0)  # else a step of the release
    app = AssetMiddleware(get_wsgi_application(), assets=get_assets())
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app) as server:
        server.serve_forever()
