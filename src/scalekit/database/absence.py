"""A server without others beside it that cannot be connected to.

Rules:

* It is a ``NoServerAvailable``, as of a cluster: what an application does about that, it does for one server.
* It is still what SQLAlchemy or the driver raises there, for code that was written for that: of both classes.
* A mistake, such as an option that the driver does not have, is no absence.
"""

from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, ExceptionContext, event

from scalekit.database.drivers.protocol import Driver
from scalekit.database.engines import describe
from scalekit.errors import NoServerAvailable


def tell_absence(engine: Engine, driver: Driver | None, *, name: str) -> None:
    """Let the errors of opening a connection say that no server is available.

    Args:
        engine: of a server that has nobody beside it.
        driver: of its connections; ``None`` for one that we do not know.
        name: of the server.
    """
    dialect: Any = engine.dialect
    plain_connect = dialect.connect
    possible: list[type[Exception]] = [OSError, *(driver.errors if driver is not None else ())]
    # The others are SQLAlchemy's to translate first.
    raw = tuple(kind for kind in possible if not issubclass(kind, dialect.loaded_dbapi.Error))

    def connect(*arguments: Any, **parameters: Any) -> Any:
        try:
            return plain_connect(*arguments, **parameters)
        except raw as error:
            raise _absent(error, name) from error

    # No "do_connect": whoever listens to that too, to bring a password along, would not be asked any more.
    dialect.connect = connect

    @event.listens_for(engine, "handle_error", retval=True)
    def handle_error(context: ExceptionContext) -> BaseException | None:
        error = context.sqlalchemy_exception
        if error is None or context.connection is not None or context.is_pre_ping:
            return None
        return _absent(error, name)


def _absent(error: BaseException, name: str) -> BaseException:
    was: Any = type(error)
    kind = _both(was)
    absent = kind.__new__(kind, *error.args)
    vars(absent).update(vars(error))
    absent.told = f"no connection to {name}: {describe(error)}"
    return absent  # type: ignore[no-any-return]


@lru_cache
def _both(kind: Any) -> Any:
    """``NoServerAvailable`` that is a ``kind`` as well; in logs, and when it is pickled, it is the former."""
    attributes: dict[str, Any] = {
        "__module__": NoServerAvailable.__module__,
        "__doc__": NoServerAvailable.__doc__,
        "__str__": lambda self: self.told,
        "__reduce__": lambda self: (NoServerAvailable, (self.told,)),
    }
    return type(NoServerAvailable.__name__, (NoServerAvailable, kind), attributes)
