"""Keys of ours that another program has: a list, a hash, whatever no command of the cache can read.

Rules:

* Such a key is as good as missing, and is thrown away: the prefix is ours. Then the commands that stumbled
  over it are sent again. They may have been carried out in part, and to do them twice does no harm.
* Nobody looks before something has failed, so it costs nothing where all is well.
* The log has it once for each key, by a digest of its name, which may have somebody's id in it.

``MGET`` takes a key of another type for a missing one, so a hit on one server does not stumble.
"""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

from scalekit._redis import Commands, Request, ResponseError, Script
from scalekit._steps import Steps

log = logging.getLogger("scalekit.cache")

_MOST = 1000  # keys that are told of

_THROW_AWAY = Script("""
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' or kind == ARGV[1] then
    return ''
end
redis.call('UNLINK', KEYS[1])
return kind
""")
"""Remove ``KEYS[1]`` if it is of another type than ``ARGV[1]``; which that was, or nothing."""


class Told:
    """Which keys the log has, of one back end.

    Args:
        name: the link's, for messages.
        stream: the one key that is no string.
    """

    def __init__(self, name: str, *, stream: str) -> None:
        self.name, self.stream = name, stream
        self._digests: set[str] = set()

    def tell(self, key: str, kind: str) -> None:
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        if digest not in self._digests and len(self._digests) < _MOST:
            self._digests.add(digest)
            log.warning(
                "%s: a key of the cache held a %s of another program and was replaced (the BLAKE2b digest of "
                "its name in 8 bytes is %s). Give the cache a prefix= or a database that nothing else uses",
                self.name,
                kind,
                digest,
            )


class Own:
    """Commands for keys that are ours."""

    def __init__(self, commands: Commands, told: Told) -> None:
        self._commands, self._told = commands, told

    def script(self, script: Script, keys: Sequence[str], args: Sequence[Any] = ()) -> Steps[Any]:
        try:
            return (yield self._commands.script(script, keys, args))
        except ResponseError as error:
            if not _is_about_type(error):
                raise
        yield from self._throw_away(keys)
        return (yield self._commands.script(script, keys, args))

    def pipeline(self, requests: Sequence[Request], keys: Sequence[str]) -> Steps[Any]:
        """Send ``requests``, which name these keys."""
        try:
            return (yield self._commands.pipeline(requests))
        except ResponseError as error:
            if not _is_about_type(error):
                raise
        yield from self._throw_away(keys)
        return (yield self._commands.pipeline(requests))

    def _throw_away(self, keys: Sequence[str]) -> Steps[None]:
        told = self._told
        kinds = yield self._commands.pipeline(
            [_THROW_AWAY.request([key], ["stream" if key == told.stream else "string"]) for key in keys]
        )
        for key, kind in zip(keys, kinds, strict=True):
            if isinstance(kind, bytes) and kind:
                told.tell(key, kind.decode("ascii", "replace"))


def _is_about_type(error: ResponseError) -> bool:
    return "WRONGTYPE" in str(error)  # within a script's error, before Redis 7
