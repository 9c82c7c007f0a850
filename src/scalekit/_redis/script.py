"""Lua scripts by their digest, and commands to be sent together."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from scalekit._redis.wire import Argument, pack


class Request(NamedTuple):
    """A command. ``source`` is the text of the script that it calls by its digest."""

    args: tuple[Argument, ...]
    source: str | None = None

    def in_full(self) -> tuple[Argument, ...]:
        """The same script by its text."""
        return ("EVAL", self.source or "", *self.args[2:])


@dataclass(frozen=True)
class Confirm:
    """That ``replicas`` are to have what was written, ``within`` so many seconds (Redis's ``WAIT``)."""

    replicas: int
    within: float

    @cached_property
    def packed(self) -> bytes:
        return pack(("WAIT", self.replicas, max(1, round(self.within * 1000))))  # 0 would be for ever


class Script:
    """A Lua script; its text is sent only to a server that does not have it yet."""

    __slots__ = ("sha", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        # Redis names scripts by their SHA-1; nothing here depends on it being hard to forge.
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    def request(self, keys: Sequence[str | bytes], args: Sequence[Argument] = ()) -> Request:
        return Request(("EVALSHA", self.sha, len(keys), *keys, *args), self.source)
