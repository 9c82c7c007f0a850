"""Django's admin, rendered: ``python -m tests.cdn.admin_pages FOLDER`` writes its pages there.

A process of its own, for Django has one set of settings a process.
"""

import sys
from pathlib import Path

import django
from django.conf import settings

APPS = ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles", "admindocs")
PATHS = (
    "login/",
    "",
    "auth/",
    "auth/user/",
    "auth/user/?q=sta&is_staff__exact=1",
    "auth/user/add/",
    "auth/user/1/change/",
    "auth/user/1/history/",
    "auth/user/1/delete/",
    "auth/user/1/password/",
    "auth/group/",
    "auth/group/add/",
    "auth/group/1/change/",
    "admin/logentry/",
    "password_change/",
    "doc/",
    "doc/tags/",
    "doc/filters/",
    "doc/models/",
    "doc/models/auth.user/",
    "doc/views/",
    "nowhere/",
)

settings.configure(
    SECRET_KEY="of a test",
    DEBUG=True,
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF=__name__,
    STATIC_URL="/static/",
    USE_TZ=True,
    INSTALLED_APPS=[f"django.contrib.{name}" for name in APPS],
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

from django.contrib import admin  # noqa: E402
from django.contrib.admin.models import LogEntry  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import include, path  # noqa: E402

admin.site.register(LogEntry)
urlpatterns = [
    path("admin/doc/", include("django.contrib.admindocs.urls")),
    path("admin/", admin.site.urls),
]


def main(folder: Path) -> None:
    call_command("migrate", verbosity=0)
    user = User.objects.create_superuser("root", "root@shop.example", "secret")
    Group.objects.create(name="staff & <friends>")
    client = Client(raise_request_exception=False)
    for number, name in enumerate(PATHS):
        if name == "":
            client.force_login(user)
        (folder / f"{number}.html").write_bytes(client.get(f"/admin/{name}").content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
