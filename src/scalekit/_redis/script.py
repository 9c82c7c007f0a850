"""Lua scripts by their digest."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from scalekit._redis.wire import Argument
from scalekit._steps import Steps

if TYPE_CHECKING:
    from scalekit._redis.link import Commands


class Script:
    """A Lua script; its text is sent only to a server that does not have it yet."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        # Redis names scripts by their SHA-1; nothing here depends on it being hard to forge.
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def call(
    commands: "Commands", script: Script, keys: Sequence[str | bytes], args: Sequence[Argument]
) -> Steps[Any]:
    try:
        return (yield commands.execute("EVALSHA", script.sha, len(keys), *keys, *args))
    except NoScriptError:  # after a restart, a failover or SCRIPT FLUSH; nothing has run
        return (yield commands.execute("EVAL", script.source, len(keys), *keys, *args))
