"""The session class of one cluster, with the hooks that keep its promises."""

from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from scalekit.database.core import ClusterEngine
from scalekit.database.fleet import Fleet
from scalekit.database.instances import WritesAfterReads, check_mode
from scalekit.database.place import Place
from scalekit.database.session import ReadWriteSession
from scalekit.errors import ConfigurationError

S = TypeVar("S", bound=Session)


def session_class(
    fleet: Fleet, *, writes_after_reads: WritesAfterReads = "expire", autocommit_reads: bool = False
) -> type[ReadWriteSession]:
    """The session class of one cluster, with the hooks that keep its promises."""
    check_mode(writes_after_reads)
    attributes = {
        "fleet": fleet,
        "writes_after_reads": writes_after_reads,
        "autocommit_reads": autocommit_reads,
        "__doc__": ReadWriteSession.__doc__,
    }
    made: type[ReadWriteSession] = type("ReadWriteSession", (ReadWriteSession,), attributes)
    made.primary_engine = ClusterEngine(lambda: made.fleet, read=False)
    # All of them for every cluster: a test may have a single server play that there are replicas.
    event.listen(made, "before_flush", _before_flush)
    event.listen(made, "after_flush", _after_flush)
    event.listen(made, "after_commit", _after_commit)
    event.listen(made, "after_transaction_end", _after_end)
    return made


def mixed(ours: type[ReadWriteSession], base: type[S]) -> type[S]:
    """A class that routes as ``ours`` does and is a ``base`` otherwise.

    A ``base`` that knows other databases by its ``get_bind()``, as Flask-SQLAlchemy's does, is asked first:
    what belongs to those goes there, and is not routed.

    Raises:
        ConfigurationError: ``base`` is no session class, or another cluster's.
    """
    if isinstance(base, type) and issubclass(base, AsyncSession):
        raise ConfigurationError(
            f"{base.__qualname__} is an AsyncSession, which routes by the session behind it; use "
            f"cluster.sessionmaker(class_={base.__qualname__})"
        )
    if not (isinstance(base, type) and issubclass(base, Session)):
        raise ConfigurationError(f"{base!r} is no subclass of sqlalchemy.orm.Session")
    if issubclass(base, ours):
        return base
    if issubclass(base, ReadWriteSession):
        raise ConfigurationError(f"{base.__qualname__} belongs to another cluster already")
    attributes: dict[str, Any] = {"__doc__": base.__doc__, "__module__": base.__module__}
    if base.get_bind is not Session.get_bind:
        attributes |= {"_has_binds": True, "_bound": _asking(ours)}
    made: Any = type(base.__name__, (ours, base), attributes)
    return made  # type: ignore[no-any-return]


def _asking(ours: type[ReadWriteSession]) -> Any:
    def bound(
        self: ReadWriteSession, mapper: Any = None, clause: Any = None, bind: Any = None, **_: Any
    ) -> Any:
        found = ours._bound(self, mapper, clause, bind)
        if found is None or bind is not None or self.bind is not None:
            return found
        # What it answers for nothing in particular is its default, whose place the cluster takes.
        return None if found is ours._bound(self) else found

    return bound


def _before_flush(session: ReadWriteSession, *_: object) -> None:
    if session._flushes_here():
        session._use_primary(wrote=True)  # before SQLAlchemy collects what is to be written


def _after_flush(session: ReadWriteSession, *_: object) -> None:
    if session._flushes_here():
        session._use_primary(wrote=True)
    elif session.fleet.single:
        session._write_alone()


def _after_commit(session: ReadWriteSession) -> None:
    if session._wrote and not session.in_nested_transaction():
        session._scope().counted()


def _after_end(session: ReadWriteSession, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    session._wrote = False
    place, session._place = session._place, None
    session._committed = place.token if place is not None else None
    try:
        session._give_back(place)
    finally:
        if place is not None:
            _tell(session, place)


def _tell(session: ReadWriteSession, place: Place) -> None:
    place.tell_seen()
    if place.autocommit and place.token is None:
        place.may_have_committed()  # the connection was lost under what it was told to do
    session._committed = place.token
    if place.token is not None:
        place.member.commits += 1
        if place.token.is_known:
            session.fleet.committed(place.token, since=place.began)
