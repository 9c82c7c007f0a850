"""Tokens of PostgreSQL, for the tests."""

from scalekit.database import Token


def token(timeline: int, position: int, *, system: str = "pg:1") -> Token:
    return Token(system, timeline, ((str(timeline), position),))
