"""Sessions in the cookie itself, for the smallest applications: ``store=CookieStore()`` in any shell.

There is no server to run and none to ask; the application has the same session. What a cookie cannot do:

* **The last response wins.** Of two requests at once, one undoes what the other has changed.
* **Nothing can be ended.** A log-out takes the cookie from the browser; a copy of it is good until it was
  idle for too long, or its deadline has passed. Who puts an older cookie back sets the session back.
* There is no list of a user's sessions, and nothing to revoke. Who asks for that gets an error; so does who
  calls ``incr``, ``append`` or ``take``, as they would not be atomic. The ``device`` of a log-in is not kept.
* What changes after the response headers have left is lost, and so is an error; a session that makes more
  than 4096 bytes of cookie is one before anything is sent.
* Visitors can read what is in it, unless ``encrypt=True``.

What holds as everywhere: a cookie that was forged or changed, or signed by no key of the ring, is no session.
The idle time and the deadline are signed with the rest, and only a log-in sets a new deadline. The cookie is
sent when something has changed, or when the session is looked at and is due to be extended.
"""

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Unpack

from scalekit._signing import key_ring
from scalekit.errors import ConfigurationError
from scalekit.sessions._cookie_core import CookieCore
from scalekit.sessions._cookie_format import PURPOSE
from scalekit.sessions._core import Options, Storeless
from scalekit.types import Colour, SecretKey

if TYPE_CHECKING:
    from scalekit.sessions._sealing import Ring


class CookieStore(Storeless):
    """No store at all: a session is in the cookie of its visitor.

    Args:
        encrypt: keep visitors from reading what is in it; needs ``pip install 'scalekit[encryption]'``.
        keys: what encrypts; one secret or a key ring, oldest first. Default: the ``secret_key`` of the
            middleware, from which keys of their own are derived.
        clock: seconds since 1970; tests put their own here. The clocks of several servers must agree.

    Raises:
        ConfigurationError: ``keys`` is no key ring, or without ``encrypt``.
        MissingExtra: what encrypts is not installed.
    """

    def __init__(
        self,
        *,
        encrypt: bool = False,
        keys: SecretKey | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if keys is not None and not encrypt:
            raise ConfigurationError("CookieStore(keys=...) encrypts nothing without encrypt=True")
        self._clock = clock
        # Both now, so that a mistake is told where it was made.
        self._seal = _sealing() if encrypt else None
        self._keys = None if keys is None else key_ring(keys, option="keys")

    def core(self, *, secret_key: SecretKey, **options: Unpack[Options]) -> CookieCore:
        """What a middleware works with, in place of a store.

        Raises:
            ConfigurationError: an option is wrong.
        """
        secrets = key_ring(secret_key)
        ring = None if self._seal is None else self._seal(self._keys or secrets)
        return CookieCore(secret_key=secrets, ring=ring, clock=self._clock, **options)

    def using(self, colour: Colour) -> NoReturn:
        """Not possible: there is nothing on the server that could be listed, revoked, or wrapped.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "a CookieStore keeps nothing on the server, so only a session middleware can use it; listing, "
            "revoking and EncryptedStore need a store such as RedisStore (CookieStore(encrypt=True) encrypts)"
        )


def _sealing() -> "Callable[[list[bytes]], Ring]":
    from scalekit.sessions._sealing import Ring  # needs an extra

    return functools.partial(Ring, purpose=PURPOSE, option="keys")
