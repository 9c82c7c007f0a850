"""Being rebuilt on the new protocol."""

from typing import Any


class RedisBackend:
    local = False

    def __init__(self, client: Any, *, prefix: str = "c:") -> None:
        raise NotImplementedError

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "c:", **options: Any) -> "RedisBackend":
        raise NotImplementedError

    def using(self, colour: Any) -> Any:
        raise NotImplementedError
