"""What several pieces know of SQLAlchemy. Whoever imports this says which extra is missing."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session


def session_target(target: Any) -> Any:
    """What the events of the sessions of ``target`` are listened for on.

    Args:
        target: a ``sessionmaker``, a ``scoped_session``, a ``Session`` class, a session, or the asynchronous
            twin of one. Of an ``async_sessionmaker`` whose sessions are of SQLAlchemy's own class they
            become of another, made for it: else all sessions of the process would be heard. Anything else
            comes back as it is, for SQLAlchemy to refuse.
    """
    if isinstance(target, async_scoped_session):
        target = target.session_factory
    if isinstance(target, async_sessionmaker):
        configured = target.kw.get("sync_session_class") or target.class_.sync_session_class
        if configured is not Session:
            return configured
        # Its sessions are of SQLAlchemy's own class, as all others are: give them one to be known by.
        own = type("WatchedSession", (Session,), {})
        target.configure(sync_session_class=own)
        return own
    if isinstance(target, AsyncSession):
        return target.sync_session
    if isinstance(target, type) and issubclass(target, AsyncSession):
        return target.sync_session_class
    return target
