"""What is said of one replica besides where it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from sqlalchemy import URL

from scalekit.database.configuration import DatabaseURL, check_listed, count, member_urls, parsed
from scalekit.database.engines import name_of
from scalekit.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Replica:
    """One of ``replicas=``, with more to say than its URL.

    Args:
        url: where it is.
        weight: how many of the reads it gets, in proportion to the others; 1 by default.
        zone: where it is; replicas in the cluster's ``zone=`` come first.
        pool_size: of its pools, in place of the cluster's.
        max_overflow: the same.

    Raises:
        ConfigurationError: a weight or a size that cannot be.
    """

    url: DatabaseURL
    weight: float = 1
    zone: str | None = None
    pool_size: int | None = None
    max_overflow: int | None = None

    def __post_init__(self) -> None:
        weight: object = self.weight
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise ConfigurationError(
                f"weight={weight!r} must be a number above 0; leave out who gets no reads"
            )
        count(self.pool_size, name="pool_size")
        count(self.max_overflow, name="max_overflow", minimum=0)

    def __repr__(self) -> str:
        try:
            name = name_of(parsed(self.url, option="url"))  # not the URL: there may be a password in it
        except ConfigurationError:
            name = "a URL that cannot be parsed"
        own = [one for one in fields(self)[1:] if getattr(self, one.name) != one.default]
        return f"Replica({', '.join([name, *(f'{one.name}={getattr(self, one.name)!r}' for one in own)])})"

    @property
    def pools(self) -> dict[str, int]:
        """The options of its engines that are its own."""
        own = {"pool_size": self.pool_size, "max_overflow": self.max_overflow}
        return {name: size for name, size in own.items() if size is not None}


def members_of(primary: DatabaseURL, replicas: Sequence[DatabaseURL | Replica]) -> list[tuple[URL, Replica]]:
    """The members, the primary first, with their URLs parsed.

    Raises:
        ConfigurationError: URLs that cannot be, or not together.
    """
    if isinstance(replicas, Replica):
        replicas = [replicas]
    given = [Replica(primary)]
    check_listed(replicas)
    given += [one if isinstance(one, Replica) else Replica(one) for one in replicas]
    urls = member_urls(primary, [one.url for one in given[1:]])
    return [(url, replace(one, url=url)) for url, one in zip(urls, given, strict=True)]
