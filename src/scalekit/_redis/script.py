"""Lua scripts by their digest."""

import hashlib


class Script:
    """A Lua script; its text is sent only to a server that does not have it yet."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        # Redis names scripts by their SHA-1; nothing here depends on it being hard to forge.
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
