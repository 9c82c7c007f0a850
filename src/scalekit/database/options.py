"""What the execution options of a statement say about where it may run.

Rules:

* ``consistency`` is asked for the one statement. It counts for reads: a write is on the primary anyway.
* What is passed along with the statement comes before the statement's own options, and these before its
  session's, as in SQLAlchemy.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Executable

from scalekit.database.configuration import check_level
from scalekit.database.levels import Consistency


def level_of(
    statement: Executable, given: Mapping[str, Any], session: Mapping[str, Any]
) -> Consistency | None:
    """How fresh ``statement`` asks to be; ``None``: as its transaction does.

    Raises:
        ConfigurationError: it asks for what is no level.
    """
    for options in (given, statement.get_execution_options(), session):
        if "consistency" in options:
            level: Consistency | None = options["consistency"]
            if level is not None:
                check_level(level)
            return level
    return None


def is_streamed(statement: Executable, given: Mapping[str, Any]) -> bool:
    """Whether the rows of ``statement`` come as they are asked for."""
    return _streams(given) or _streams(statement.get_execution_options())


def _streams(options: Mapping[str, Any]) -> bool:
    return bool(options) and bool(options.get("yield_per") or options.get("stream_results"))
