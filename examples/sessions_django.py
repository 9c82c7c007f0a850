"""A cart that follows its visitor from server to server, under Django: one setting.

    python -m examples.sessions_django
    curl -c jar -b jar -X POST localhost:8000/cart/tea
    curl -c jar -b jar localhost:8000/

REDIS_URL says where Redis is; start it on two ports (PORT) and ask them in turns.
"""

import os
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(
    SESSION_ENGINE="scalekit.sessions.django",
    SCALEKIT_SESSION_STORE=os.environ.get("REDIS_URL", "redis://localhost:6379/0"),
    SECRET_KEY=os.environ.get("SECRET_KEY", "the same long secret on every server"),
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
)
django.setup()


def show(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"user": request.session.get("user"), "cart": request.session.get("cart", [])})


def add(request: HttpRequest, sku: str) -> JsonResponse:
    request.session.setdefault("cart", []).append(sku)  # a nested change needs no `modified = True`
    return JsonResponse(request.session["cart"], safe=False)


def login(request: HttpRequest, name: str) -> JsonResponse:
    request.session.cycle_key()  # what django.contrib.auth.login does
    request.session["user"] = name
    return JsonResponse({})


def logout(request: HttpRequest) -> JsonResponse:
    request.session.flush()
    return JsonResponse({})


urlpatterns = [
    path("", show),
    path("cart/<sku>", add),
    path("login/<name>", login),
    path("logout", logout),
]

if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), get_wsgi_application()) as server:
        server.serve_forever()
