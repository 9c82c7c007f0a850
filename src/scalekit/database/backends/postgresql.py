"""What a PostgreSQL server can tell us, and how to ask without an extra round trip.

Rules:

* Positions are *insert* positions: with ``synchronous_commit = off`` a commit is visible before it is
  written, and a token taken from the written position would promise too little.
* A replica is asked outside any transaction, so that the answer is older than the snapshot of the read
  that follows, at every isolation level.
* Connections for reading open with ``default_transaction_read_only``: a replica that is promoted while
  they sit in a pool still refuses to write through them.
* The timeline of a primary is in the name of its current log file. The one in the control file is that
  of the last checkpoint, which after a promotion is an old one.
"""

import re
from typing import Any

from scalekit.database.report import Report

# A replica's timeline: what it receives (visible to pg_monitor only), else what its control file says,
# which may be an older one. An older one keeps it unused for a while, which is safe.
QUESTION = """
SELECT pg_is_in_recovery(),
       (SELECT system_identifier FROM pg_control_system()),
       CASE WHEN pg_is_in_recovery()
            THEN greatest((SELECT received_tli FROM pg_stat_wal_receiver),
                          (SELECT timeline_id FROM pg_control_checkpoint()),
                          (SELECT min_recovery_end_timeline FROM pg_control_recovery()))::text
            ELSE pg_walfile_name(pg_current_wal_insert_lsn()) END,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_insert_lsn() END::text,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_flush_lsn() END::text,
       extract(epoch FROM pg_postmaster_start_time())::float8,
       current_setting('wal_writer_delay'),
       current_setting('wal_segment_size')
"""

POSITION = (
    "CASE WHEN pg_is_in_recovery() THEN NULL ELSE "
    "pg_walfile_name(pg_current_wal_insert_lsn()) || ' ' || pg_current_wal_insert_lsn()::text END"
)
"""Where the log is and on which timeline, as one text for :func:`read_position`; NULL on a replica."""

WROTE = "txid_current_if_assigned() IS NOT NULL"
"""Whether the transaction in progress has changed anything, and so has something to commit."""

READ_ONLY = "default_transaction_read_only"

READ_ONLY_STATE = "25006"
"""SQLSTATE of a write in a read-only transaction."""

# What only the primary can run: a write, or a feature that a standby lacks (SERIALIZABLE).
REFUSED = frozenset({READ_ONLY_STATE, "0A000"})

# The statement lost against the replay of what the primary did; it may be asked again elsewhere.
CONFLICT = frozenset({"40001", "40P01"})

# The server is going away or not ready; the connection is of no more use.
GONE = frozenset({"57P01", "57P02", "57P03", "57P05", "08000", "08003", "08006"})

_PAGE = 8192
_SHORT_HEADER, _LONG_HEADER = 24, 40

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "kB": 2**10, "MB": 2**20, "GB": 2**30}
# The log writer flushes an asynchronous commit within three of its delays (PostgreSQL manual, 28.4).
_FLUSH_DELAYS = 3


def last_record_end(position: int, *, segment_size: int) -> int:
    """The end of the last record, given an insert position.

    The insert position skips a page header that a replica has yet to see, so an idle primary at a page
    boundary would look forever ahead of a replica that has everything.
    """
    if position % segment_size == _LONG_HEADER:
        return position - _LONG_HEADER
    if position % _PAGE == _SHORT_HEADER:
        return position - _SHORT_HEADER
    return position


def read_report(row: tuple[Any, ...], *, asked: float) -> Report:
    """The answer to :data:`QUESTION`."""
    recovering, system, timeline, position, flushed, started, writer_delay, segment_size = row
    segment = int(_setting(segment_size))
    ends = [read_lsn(lsn) if lsn is not None else 0 for lsn in (position, flushed)]
    if not recovering:
        ends = [last_record_end(end, segment_size=segment) for end in ends]
    return Report(
        asked=asked,
        system=system,
        timeline=int(timeline) if recovering else int(timeline[:8], 16),
        writable=not recovering,
        position=ends[0],
        flushed=ends[1],
        flush_delay=_FLUSH_DELAYS * _setting(writer_delay),
        started=started,
        segment_size=segment,
    )


def read_position(text: str) -> tuple[int, int]:
    """Timeline and position from :data:`POSITION`."""
    file, lsn = text.split()
    return int(file[:8], 16), read_lsn(lsn)


def read_lsn(text: str) -> int:
    """``"16/B374D848"`` as a number of bytes."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def show_lsn(position: int) -> str:
    """A number of bytes as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def _setting(text: str) -> float:
    match = re.fullmatch(r"(\d+)(\w+)", text)
    if match is None:
        return float(text)
    return int(match[1]) * _UNITS[match[2]]
