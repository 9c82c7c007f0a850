"""The Django project of the tests: its settings, and a database with users in memory."""

from typing import Any
from uuid import UUID

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models

from tests.sessions.shells import SECRET

if not settings.configured:
    settings.configure(
        SECRET_KEY=SECRET,
        SESSION_ENGINE="scalekit.sessions.django",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
        # Shared by the threads that Django runs its synchronous half in.
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": "file:scalekit-tests?mode=memory&cache=shared",
            }
        },
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ALLOWED_HOSTS=["testserver"],
        USE_TZ=True,
    )
    django.setup()

from django.contrib.auth.base_user import AbstractBaseUser


def make_tables() -> None:
    """Create what is missing."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    assert connection.introspection.table_names()


class Member(models.Model):
    class Meta:
        app_label = "sessions"


KEYS: dict[str, tuple[models.Field, Any, Any]] = {  # type: ignore[name-defined]
    "int": (models.BigIntegerField(primary_key=True), 7, 7),
    "uuid": (models.UUIDField(primary_key=True), UUID(int=7), UUID(int=7)),
    "str": (models.CharField(max_length=9, primary_key=True), "7", "7"),
    "slug": (models.SlugField(primary_key=True), "ada", "ada"),
    "parent": (models.OneToOneField(Member, models.CASCADE, primary_key=True), 7, 7),
    "other": (models.DecimalField(max_digits=9, decimal_places=0, primary_key=True), 7, "7"),
}
"""A user model's primary key, a value, and whose the session is then."""

USERS = {
    name: type(
        f"{name.title()}User",
        (AbstractBaseUser,),
        {
            "__module__": __name__,
            "Meta": type("Meta", (), {"app_label": "sessions"}),
            "key": key,
            "last_login": None,
            "USERNAME_FIELD": "key",
        },
    )
    for name, (key, _, _) in KEYS.items()
}
