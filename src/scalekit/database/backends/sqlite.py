"""SQLite: one file, one server.

Everything goes to it, whatever the consistency level; there is nothing to wait for and nothing to tell a
visitor. Readers do not block the writer, nor the writer readers.
"""

from typing import Any

from sqlalchemy import Engine, event

_BUSY_TIMEOUT_MS = 5_000


def prepare(engine: Engine) -> None:
    """Let several processes share the file of ``engine``."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        # Kept in the file; an in-memory database answers "memory" and goes on as it is.
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        cursor.close()
