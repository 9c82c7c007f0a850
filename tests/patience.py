"""A busy machine keeps a server from answering in time: that is tested where it is meant, not by chance."""

from scalekit.cache import redis

TIMEOUT = redis.TIMEOUT
"""Seconds that the cache waits for Redis when nobody says how long."""


def be_patient() -> None:
    """Have the cache wait longer for Redis where nobody says how long."""
    redis.TIMEOUT = 5.0
