"""What an app server is told by its environment. Every server of the fleet gets the same, but its name."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Addresses and secrets.

    Args:
        server: this server's name, for people.
        secret_key: signs cookies; the same on every server.
        database: SQLAlchemy URL of the primary, or of one SQLite file.
        replicas: SQLAlchemy URLs of the replicas, named ``replica-1``, ``replica-2``...
        redis: URL for sessions and cache; empty keeps both in this process.
        uploads: a folder, shared by all servers.
        cdn: where browsers find the assets; empty serves them from here.
    """

    server: str
    secret_key: str
    database: str
    uploads: Path
    replicas: tuple[str, ...] = ()
    redis: str = ""
    cdn: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        return cls(
            server=environment["SHOP_SERVER"],
            secret_key=environment["SHOP_SECRET_KEY"],
            database=environment["SHOP_DATABASE"],
            uploads=Path(environment["SHOP_UPLOADS"]),
            replicas=tuple(environment.get("SHOP_REPLICAS", "").split()),
            redis=environment.get("SHOP_REDIS", ""),
            cdn=environment.get("SHOP_CDN", ""),
        )

    def to_environment(self) -> dict[str, str]:
        values = asdict(self) | {"replicas": " ".join(self.replicas)}
        return {f"SHOP_{name.upper()}": str(value) for name, value in values.items()}
