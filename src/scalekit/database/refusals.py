"""Writes that a server without others beside it refuses, because its URL leads to a replica."""

from sqlalchemy import Engine, ExceptionContext, event

from scalekit.database.backends.protocol import Backend, Trouble
from scalekit.database.drivers.protocol import Driver


def tell_refusals(engine: Engine, driver: Driver, backend: Backend, *, name: str) -> None:
    """Let the errors of refused writes say so, where it is certain that the server is the reason.

    A transaction that the application itself made read-only gets no such advice.

    Args:
        engine: of a server that nobody asks what it is.
        driver: of its connections.
        backend: the kind of server.
        name: of the server.
    """

    @event.listens_for(engine, "handle_error")
    def handle_error(context: ExceptionContext) -> None:
        code = driver.code(context.original_exception)
        if (
            backend.trouble(code) is Trouble.WRITE_REFUSED
            and context.connection is not None
            and context.sqlalchemy_exception is not None
            and (
                driver.told(context.connection.connection.dbapi_connection).standby
                or backend.is_read_only(code, str(context.original_exception))
            )
        ):
            context.sqlalchemy_exception.add_detail(
                f"{name} takes no writes: it is a replica, or was set to read only. A cluster of one server "
                "sends everything there; give it the URL of the primary, and those of replicas as replicas="
            )
