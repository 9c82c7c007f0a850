"""The session class of one cluster, with the hooks that keep its promises."""

from sqlalchemy import event
from sqlalchemy.orm import SessionTransaction

from scalekit.database.fleet import Fleet
from scalekit.database.place import Place
from scalekit.database.session import ReadWriteSession


def session_class(fleet: Fleet) -> type[ReadWriteSession]:
    """The session class of one cluster, with the hooks that keep its promises."""
    made = type(
        "ReadWriteSession", (ReadWriteSession,), {"fleet": fleet, "__doc__": ReadWriteSession.__doc__}
    )
    if not fleet.single:
        event.listen(made, "before_flush", lambda session, *_: session._use_primary())
        event.listen(made, "after_flush", lambda session, *_: session._use_primary(wrote=True))
        event.listen(made, "after_commit", _after_commit)
        event.listen(made, "after_transaction_end", _after_end)
    return made


def _after_commit(session: ReadWriteSession) -> None:
    place = session._place
    if place is None or place.replica or session.in_nested_transaction():
        return
    if place.wrote and session.twophase:
        place.committed(None)  # COMMIT PREPARED tells no position


def _after_end(session: ReadWriteSession, transaction: SessionTransaction) -> None:
    if transaction.parent is not None:
        return
    place, session._place = session._place, None
    try:
        session._give_back(place)
    finally:
        if place is not None:
            _tell(session, place)


def _tell(session: ReadWriteSession, place: Place) -> None:
    if place.autocommit and place.token is None:
        place.may_have_committed()  # the connection was lost under what it was told to do
    if place.token is not None:
        place.member.commits += 1
        if place.token.is_known:
            session.fleet.scopes.heard(place.token)
