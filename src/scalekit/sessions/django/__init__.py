"""Sessions for Django: ``SESSION_ENGINE = "scalekit.sessions.django"``.

Django's own session middleware stays, and with it its cookie settings and its times: a session ends
``SESSION_COOKIE_AGE`` (or what ``set_expiry()`` says) after it was last saved. What the engine adds: the
store holds no usable token, a forged cookie costs no access to it, concurrent requests merge key by key, a
nested change is noticed, values keep their types, no session outlives its lifetime, and those of a user are
listed: ``UserSessions(get_store()).list(user.pk)``.

Settings:

* ``SCALEKIT_SESSION_STORE``: a store, or a URL for :class:`~scalekit.sessions.redis.RedisStore` or, with
  ``memcached://``, :class:`~scalekit.sessions.memcached.MemcachedStore`; default ``"redis://localhost:6379/0"``.
* ``SCALEKIT_SESSION_LIFETIME``: seconds or ``timedelta`` after which a visitor must log in again, however
  active; default 30 days.
* ``SCALEKIT_SESSION_TYPES``: classes of your own whose instances sessions may hold, or their dotted paths,
  such as ``["shop.values.Address"]``; see ``types`` of :class:`scalekit.sessions.Options`.
* ``scalekit.sessions.django.UnavailableMiddleware`` in ``MIDDLEWARE``, right before Django's session
  middleware: answers 503 while the store is away, where Django would report an error with each request.
* ``scalekit.sessions.django`` in ``INSTALLED_APPS``: ``manage.py check``, which also runs before
  ``runserver`` and ``migrate``, tells of a wrong setting. Without it the first request with a session does.
"""

from scalekit.sessions.django._settings import get_store
from scalekit.sessions.django.engine import SessionStore
from scalekit.sessions.django.middleware import UnavailableMiddleware

__all__ = ["SessionStore", "UnavailableMiddleware", "get_store"]
