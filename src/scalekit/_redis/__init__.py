"""Where Redis commands go: one small client for the pieces that keep data in Redis.

``Redis.from_url(url)`` or ``Redis(client)`` is the link; ``link.using("async")`` hands out one colour of
it with four methods, ``execute``, ``script``, ``pipeline`` and ``close``. redis-py connects, authenticates
and follows Sentinels and Cluster topologies; what is added here is how commands travel:

* **Together.** Commands that run concurrently on one event loop share a pipeline over at most two
  connections (a node of a Cluster: at most two each). A lone command goes out at once. Threads share a
  pool that makes them wait, for a bounded time, instead of raising. ``pipeline`` sends several for either.
* **Bounded.** A server that hangs costs one time-out, then a circuit breaker answers
  ``BackendUnavailable`` at once until a probe succeeds.
* **Never twice.** A command that may have reached the server is not sent again. It is sent again only if
  the server refused it (``MOVED``, ``ASK``, ``TRYAGAIN``, ``NOSCRIPT``).
* **Apart.** An error reaches the caller whose command caused it; a cancelled caller harms no other.

Replies are raw: bytes, integers, ``None`` and lists of them, never decoded and never turned into
other types.
"""

from scalekit.errors import MissingExtra

try:
    import redis as _redis_py  # noqa: F401  the check that the extra is there
except ImportError:
    raise MissingExtra("redis", needed_by="scalekit's client for Redis") from None

from redis.exceptions import ResponseError

from scalekit._redis.greeting import Greeting
from scalekit._redis.link import Commands, Redis
from scalekit._redis.script import Confirm, Request, Script

__all__ = ["Commands", "Confirm", "Greeting", "Redis", "Request", "ResponseError", "Script"]
