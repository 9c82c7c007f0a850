"""The cache's back end in Memcached: one server, or several that share the keys.

Keys: ``<prefix><function>:<digest>`` for what is computed, ``<prefix>t:<tag>`` for a tag's record, and
``<prefix>g`` for the generation's. A hit is one trip: the entry, the generation and the tags are asked for in
one piece. A miss that is stored is two trips more, a lease and a fill.

What Memcached cannot do, and what becomes of it:

* It runs no scripts. What is under a key is replaced on the condition that nobody has written meanwhile, by
  the number that it gives to each write (CAS). A tag's record is read and then replaced, again if other
  processes were faster: two trips for a mark, and two for a bump.
* It may drop any item. Without its entry, or the record of one of its tags, a result is computed again.
  Without its lease one is computed twice, and stored once. Without the mark of a writer its tags are taken
  for unchanged until the bump: if the writer dies just then, after COMMIT, what others have stored meanwhile
  stays until it expires.
* Several servers carry out a trip's commands in no common order. Who looks at the moment in which a tag is
  dropped may take a result that was stored since for an outdated one: it is computed once more.
* Its clock counts seconds and cannot be asked, so moments are by the clocks of the machines that we run on.
* It tells nobody what was dropped: this process's own tier is right by its time alone.
"""

import time
from collections.abc import Callable
from typing import Any, Self, Unpack

from scalekit._memcached import Memcached
from scalekit._options import LinkOptions, check_kind, check_names
from scalekit.cache.entry import TOKEN_BYTES, pack_refresh
from scalekit.cache.memcached_entries import MemcachedEntries
from scalekit.cache.memcached_records import UnderWay
from scalekit.errors import ConfigurationError
from scalekit.types import Colour

TIMEOUT = 0.035
"""Seconds. A cache that takes longer is slower than many a query."""

_KEY = 250  # bytes
_OWN = 141  # bytes of a key after the prefix, at most
_ITEM = 1 << 20  # bytes
_OVERHEAD = 512  # bytes; more than what memcached adds to a value, its key included
_RIGHT = len(pack_refresh(bytes(TOKEN_BYTES), 0, b""))  # what is before an entry that is being replaced


class MemcachedBackend:
    """Results in Memcached, from version 1.6.10. Read in the guide what is weaker than in Redis.

    Args:
        client: a client of pymemcache, for synchronous code: its servers, time-outs, key prefix and TLS are
            used.
        prefix: what every key begins with; at most 100 printable ASCII characters without spaces.
        max_item_size: bytes that the server takes, its option ``-I``. What is larger is not stored.
        clock: seconds since 1970; tests put their own here.

    Raises:
        ConfigurationError: ``client`` is no client of pymemcache, or ``prefix`` can begin no key.
    """

    local = False

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = "c:",
        max_item_size: int = _ITEM,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._memcached = client if isinstance(client, Memcached) else Memcached(client, spare_callers=True)
        room = _KEY - len(self._memcached.key_prefix) - len(prefix)
        if room < _OWN or not all("!" <= character <= "~" for character in prefix):
            raise ConfigurationError(
                f"prefix={prefix!r:.120}: at most {_KEY - _OWN - len(self._memcached.key_prefix)} "
                "printable ASCII characters without spaces, as a key of Memcached has 250 bytes at most"
            )
        wanted = "a whole number of bytes, such as 1024 * 1024"
        check_kind(max_item_size, int, option="max_item_size=", wanted=wanted)
        if max_item_size <= 2 * _OVERHEAD:
            raise ConfigurationError(f"max_item_size={max_item_size!r} must be above {2 * _OVERHEAD} bytes")
        self._prefix, self._room = prefix, room
        self._limit = max_item_size - _OVERHEAD - _RIGHT
        self._clock = clock
        self._under_way = UnderWay()

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = "c:",
        max_item_size: int = _ITEM,
        clock: Callable[[], float] = time.time,
        **options: Unpack[LinkOptions],
    ) -> Self:
        """A back end for either colour; connects when it is first used.

        Args:
            url: ``memcached://host:11211``, several servers as ``memcached://one,two:11212``; or ``unix://``.
            prefix: what every key begins with.
            max_item_size: bytes that the server takes, its option ``-I``.
            clock: seconds since 1970; tests put their own here.
            options: ``timeout`` (0.035 s) is how long an answer may take, and ``connect_timeout`` (the same,
                at most 0.5 s) how long a caller waits for a connection; then the query runs without the
                cache. ``max_connections`` (32, for threads), ``cooldown`` (1 s, at most, between questions of
                our own to a server that has failed).

        Raises:
            ConfigurationError: the URL or an option is wrong.
        """
        own = ("prefix", "max_item_size", "clock")
        check_names(options, LinkOptions, taker=f"{cls.__name__}.from_url", named=own)
        timeout = options.setdefault("timeout", TIMEOUT)
        options.setdefault("connect_timeout", min(timeout, 0.5))
        link = Memcached.from_url(url, spare_callers=True, **options)
        return cls(link, prefix=prefix, max_item_size=max_item_size, clock=clock)

    def using(self, colour: Colour) -> MemcachedEntries:
        """The back end in one colour.

        Raises:
            WrongColour: it was given a client, which is synchronous, and is to be asynchronous.
        """
        return MemcachedEntries(
            self._memcached.using(colour),
            name=self._memcached.name,
            prefix=self._prefix,
            room=self._room,
            limit=self._limit,
            clock=self._clock,
            under_way=self._under_way,
        )
