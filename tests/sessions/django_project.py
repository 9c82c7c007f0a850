"""The Django project of the tests: its settings, and a database with users in memory."""

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection

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


def make_tables() -> None:
    """Create what is missing."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    assert connection.introspection.table_names()
