"""Which option was meant by one that SQLAlchemy does not know."""

from collections.abc import Iterable
from difflib import get_close_matches
from inspect import signature

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from scalekit.errors import ConfigurationError

# Of create_engine(), as its manual has them. It takes others for each dialect, which only it can tell.
_ENGINE = (
    "connect_args", "creator", "echo", "echo_pool", "enable_from_linting", "execution_options",
    "hide_parameters", "insertmanyvalues_page_size", "isolation_level", "json_deserializer",
    "json_serializer", "label_length", "logging_name", "max_identifier_length", "max_overflow", "module",
    "paramstyle", "plugins", "pool", "pool_logging_name", "pool_pre_ping", "pool_recycle",
    "pool_reset_on_return", "pool_size", "pool_timeout", "pool_use_lifo", "poolclass", "query_cache_size",
    "use_insertmanyvalues",
)  # fmt: skip


def check_spelling(given: Iterable[str], *, refused: ConfigurationError, own: Iterable[str]) -> None:
    """Say which option was meant, if one is to blame for there being no engine.

    Args:
        given: names of the options that went to ``create_engine``.
        refused: why there is none.
        own: names of the cluster's options.

    Raises:
        ConfigurationError: a name that was refused is much like one that there is.
    """
    known = (*own, *_ENGINE)
    of_sessions = _of_sessions()
    for name in given:
        if name not in known and f"'{name}'" in str(refused):
            if name in of_sessions:
                raise ConfigurationError(
                    f"{name}= is an option of sessions; give the cluster session_options={{{name!r}: ...}}"
                ) from refused.__cause__
            close = get_close_matches(name, known, 1)
            if close:
                raise ConfigurationError(
                    f"a cluster has no option {name}=; did you mean {close[0]}=?"
                ) from refused.__cause__


def check_session_options(given: Iterable[str]) -> None:
    """Refuse what no session takes, before the first one is made.

    Raises:
        ConfigurationError: there is such a name.
    """
    known = ["consistency", *_of_sessions()]
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigurationError(f"session_options= has {name!r}, which no session takes{hint}")


def _of_sessions() -> list[str]:
    return [*signature(Session).parameters, *signature(AsyncSession).parameters]
