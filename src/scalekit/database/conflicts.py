"""Reads that a replica cancels because they stand in the way of what it has to apply."""

from collections.abc import Callable

from sqlalchemy import Engine, ExceptionContext, event

from scalekit.database.backends.protocol import Backend, Trouble
from scalekit.database.drivers.protocol import Driver


def tell_conflicts(
    engine: Engine, driver: Driver, backend: Backend, *, name: str, met: Callable[[], None]
) -> None:
    """Let the errors of cancelled reads say which replica it was, and what helps.

    The first read of a transaction is repeated elsewhere, and its error never seen.

    Args:
        engine: for reading, of a member.
        driver: of its connections.
        backend: the kind of server.
        name: the member's.
        met: called for each conflict.
    """

    @event.listens_for(engine, "handle_error")
    def handle_error(context: ExceptionContext) -> None:
        if backend.trouble(driver.code(context.original_exception)) is Trouble.CONFLICT:
            met()
            if context.sqlalchemy_exception is not None:
                context.sqlalchemy_exception.add_detail(
                    f"the replica {name} cancelled it in favour of what it has to apply; repeat the "
                    f"transaction, and if that happens often, {backend.conflict_cure}"
                )
