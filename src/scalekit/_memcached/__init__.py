"""Where Memcached commands go: one small client for the pieces that keep data in Memcached.

``Memcached.from_url(url)`` or ``Memcached(client)`` is the link; ``link.using("async")`` hands out one colour
of it. Both colours speak through the same few lines of the text protocol, over connections of our own:

* **One key, one server.** A key belongs to the server that pymemcache's rendezvous hashing gives it, in both
  colours. No other one takes over while that one is away: what the other was told would be forgotten when the
  first comes back, with what it knew before, such as a session that has been ended.
* **Together.** Commands of one event loop share one connection to a server and do not wait for each other's
  replies. Threads share a pool that makes them wait, for a bounded time.
* **Bounded.** A server that hangs costs one time-out, then its circuit breaker answers ``BackendUnavailable``
  at once until a probe succeeds. The other servers go on.
* **Never twice.** A command that may have reached the server is not sent again.
* **Never wrong.** A server that cannot be asked is an error and never an absent value.

pymemcache's own clients keep few of these: ``HashClient`` tells absence while it waits to try again and hands
keys to other servers, ``PooledClient`` raises when it is used up, ``Client`` is for one thread, and each
unpickles if it is set up to. So a client that is given says where the servers are and how long to wait, and
is not called.
"""

from scalekit.errors import MissingExtra

try:
    import pymemcache as _pymemcache  # noqa: F401  the check that the extra is there
except ImportError:
    raise MissingExtra("memcached", needed_by="scalekit's client for Memcached") from None

from scalekit._memcached.contention import Attempt, Outcome, settle
from scalekit._memcached.errors import Full, Refused
from scalekit._memcached.link import Commands, Memcached
from scalekit._memcached.meta import Delete, Get, Item, Set
from scalekit._memcached.wire import Found

__all__ = [
    "Attempt",
    "Commands",
    "Delete",
    "Found",
    "Full",
    "Get",
    "Item",
    "Memcached",
    "Outcome",
    "Refused",
    "Set",
    "settle",
]
