"""``python -m tests.cdn.django_site``: what a cache policy makes of Django's sessions, by path."""

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from scalekit.cdn import CachePolicy
from scalekit.cdn.wsgi import PolicyMiddleware
from tests.cdn.drivers import call_wsgi

settings.configure(
    SECRET_KEY="a secret of the tests",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
django.setup()


@CachePolicy(max_age=60, tags=["page:{name}"])
def page(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(name)


@CachePolicy(max_age=60)
def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.session.get("user")))


@CachePolicy(max_age=60)
def write(request: HttpRequest) -> HttpResponse:
    request.session["user"] = 1
    return HttpResponse("")


urlpatterns = [path("page/<str:name>", page), path("read", read), path("write", write)]

if __name__ == "__main__":
    app = PolicyMiddleware(get_wsgi_application())
    for asked in ("/page/about", "/read", "/write"):
        headers = call_wsgi(app, asked).headers
        print(asked, headers.get("cache-control"), headers.get("cache-tag"), sep=" | ")
