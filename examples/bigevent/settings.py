"""What a process of the shop is told by its environment: one variable, the same for the whole fleet."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

PIECES = ("sessions", "database", "cache", "storage", "cdn", "ops")
"""What can be switched off, by ``--without``."""

PRODUCTS = (
    "aloe", "cactus", "calathea", "echeveria", "fern", "fig", "ivy", "monstera", "palm", "pilea", "pothos",
    "snake-plant",
)  # fmt: skip

METRICS = "/metrics"
"""Where a process tells its numbers; nginx passes it on to nobody."""

_NAME = "BIGEVENT"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Addresses, and what is switched off.

    Args:
        database: SQLAlchemy URL of the primary.
        replicas: those of the replicas.
        redis: ``redis+sentinel://`` URL, for sessions and cache.
        s3: arguments of `S3Storage`, the bucket among them.
        cdn: address of the CDN, without a slash at the end.
        assets: the folder of this release's assets.
        release: its number.
        scratch: a folder of this process's own, for who keeps uploads on a local disk.
        drain_delay: seconds for which a process that is told to leave serves on.
        wait_replicas: replicas that a session's write waits for; 0 for none.
        without: names of `PIECES`.
    """

    database: str
    replicas: tuple[str, ...]
    redis: str
    s3: dict[str, str]
    cdn: str
    assets: str = ""
    release: int = 1
    scratch: str = ""
    drain_delay: float = 5.0
    wait_replicas: int = 0
    without: tuple[str, ...] = ()
    secret_key: str = "a secret of the proof, the same on every server"

    def has(self, piece: str) -> bool:
        return piece not in self.without

    def to_environment(self) -> dict[str, str]:
        return {_NAME: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        values = json.loads(environment[_NAME])
        return cls(**values | {name: tuple(values[name]) for name in ("replicas", "without")})
