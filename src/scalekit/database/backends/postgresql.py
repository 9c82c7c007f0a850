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
from dataclasses import replace
from functools import lru_cache
from typing import Any

from scalekit.database.backends.protocol import Trouble
from scalekit.database.report import Report
from scalekit.database.sqltext import endings
from scalekit.database.sqltext.endings import Ending
from scalekit.database.sqltext.postgresql import RULES
from scalekit.database.tokens import Reached, Token

# A replica's timeline: what it receives (visible to pg_monitor only), else what its control file says,
# which may be an older one. An older one keeps it unused for a while, which is safe.
_RECEIVED = "(SELECT received_tli FROM pg_stat_wal_receiver)"
_RECORDED = (
    "(SELECT timeline_id FROM pg_control_checkpoint()), "
    "(SELECT min_recovery_end_timeline FROM pg_control_recovery())"
)

# A crash discards the statistics, which start anew. Those about archiving are hardly ever reset by people.
# Before version 15 they came from a file, which may be old.
_RUN = (
    "CASE WHEN current_setting('server_version_num')::int >= 150000 "
    "THEN (SELECT stats_reset FROM pg_stat_archiver)::text END"
)

# A third of what QUESTION costs the server: files are read only where the first answer is not to be had.
INLINE = (
    "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()::text, "
    f"coalesce({_RECEIVED}, greatest({_RECORDED}))::text"
)

QUESTION = f"""
SELECT pg_is_in_recovery(),
       (SELECT system_identifier FROM pg_control_system()),
       CASE WHEN pg_is_in_recovery()
            THEN greatest({_RECEIVED}, {_RECORDED})::text
            ELSE pg_walfile_name(pg_current_wal_insert_lsn()) END,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_insert_lsn() END::text,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_flush_lsn() END::text,
       extract(epoch FROM pg_postmaster_start_time())::float8,
       {_RUN},
       current_setting('wal_writer_delay'),
       current_setting('wal_segment_size'),
       current_setting('default_transaction_read_only'),
       pg_last_wal_replay_lsn()::text,
       strpos(current_setting('rds.extensions', true), 'aurora_stat_utils') > 0,
       current_setting('server_version_num')::int
"""  # noqa: S608  (made of constants)

POSITION = (
    "CASE WHEN pg_is_in_recovery() THEN NULL ELSE "
    "pg_walfile_name(pg_current_wal_insert_lsn()) || ' ' || pg_current_wal_insert_lsn()::text || ' ' || "
    "current_setting('wal_segment_size') END"
)
"""Where the log is, on which timeline, and how to read that, as one text; NULL on a replica."""

WROTE = "txid_current_if_assigned() IS NOT NULL"
"""Whether the transaction in progress has changed anything, and so has something to commit."""

# The server reports both with its replies when they change, PostgreSQL 14 and later.
READ_ONLY = "default_transaction_read_only"
HOT_STANDBY = "in_hot_standby"

FULL = "53300"
"""SQLSTATE of a server, or a role, that has as many connections as it may."""

READ_ONLY_STATE = "25006"
"""SQLSTATE of a write in a read-only transaction."""

OTHERS_FAULT = frozenset(
    # The isolation level of the transaction, or what was set for it, and a plan that the connection has kept.
    {"GetSerializableTransactionSnapshot", "call_enum_check_hook", "RevalidateCachedQuery"}
)
"""Functions of the server's own that refuse what they would not refuse over another connection."""

# Shut down; another server process has crashed; starting up; idle for too long.
_FAREWELLS = ("57P01", "57P02", "57P03", "57P05")

_TROUBLE = {
    READ_ONLY_STATE: Trouble.WRITE_REFUSED,
    # A feature that a standby lacks: SERIALIZABLE.
    "0A000": Trouble.FEATURE_REFUSED,
    # What there is no answer to during recovery: pg_current_wal_lsn().
    "55000": Trouble.FEATURE_REFUSED,
    "40001": Trouble.CONFLICT,
    "40P01": Trouble.CONFLICT,
    # "Statement completion unknown": said by those who stand between us and the server.
    "40003": Trouble.OTHER,
    FULL: Trouble.FULL,
    # Cancelled, perhaps after a COMMIT that was sent along with a question.
    "57014": Trouble.OTHER,
    **dict.fromkeys((*_FAREWELLS, "08000", "08003", "08006"), Trouble.GONE),
}

# Classes of SQLSTATEs. The rest of 08 is about the connection, not about what was sent over it: PgBouncer
# says 08P01 for a server that it lost. 3D: no such database.
_CONNECTION, _LOGIN = "08", ("28", "3D")
# No memory, no disk, a bug: of what was sent in one message, a part may have been done before.
_EXHAUSTED = ("53", "58", "XX")

_CAN_WAIT = 190_000
"""The first version with WAIT FOR LSN."""

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


_ending = endings.postgresql(RULES)


class PostgreSQL:
    """PostgreSQL with streaming replication; implements :class:`.protocol.Backend`."""

    name = "PostgreSQL"
    question, inline = QUESTION, INLINE
    position = POSITION
    oldest: tuple[int, ...] = (13,)
    conflict_cure = "set hot_standby_feedback=on there, or raise max_standby_streaming_delay"
    primary_only_isolation = frozenset({"SERIALIZABLE"})
    rules = RULES

    def ending(self, sql: str) -> Ending:
        return _ending(sql)

    def report(self, row: tuple[Any, ...], *, asked: float) -> Report:
        recovering, number, timeline, position, flushed, started, reset, writer_delay, segment_size, *more = (
            row
        )
        read_only, replayed, is_aurora, version = more
        if is_aurora:
            # What its functions for the log say, where they answer, is not known to be what readers see.
            raise ConnectionError("this is Amazon Aurora; give the cluster server='aurora'")
        system, segment = f"pg:{number}", int(_setting(segment_size))
        epoch = int(timeline) if recovering else int(timeline[:8], 16)
        ends = [read_lsn(lsn) if lsn is not None else 0 for lsn in (position, flushed)]
        if not recovering:
            ends = [last_record_end(end, segment_size=segment) for end in ends]
        return Report(
            asked=asked,
            writable=not recovering,
            reached=Reached(system, {str(epoch): ends[0]}),
            epoch=epoch,
            order=ends[0],
            written=None if recovering else _token(system, epoch, ends[0]),
            flushed=None if recovering else _token(system, epoch, ends[1]),
            flush_delay=_FLUSH_DELAYS * _setting(writer_delay),
            server=str(started),
            shown=show_lsn(ends[0]),
            read_only=read_only == "on",
            # Stays where it was when the server was promoted, until that restarts.
            replayed=None if recovering or replayed is None else (read_lsn(replayed), replayed),
            version=version,
            run=f"{started} {reset}" if reset else "",
        )

    def inline_report(self, row: tuple[Any, ...], *, asked: float, last: Report) -> Report | None:
        recovering, position, timeline = row
        if not recovering or position is None or last.writable:
            return None
        # A server process never goes back to an earlier timeline, whatever its files say.
        epoch, reached = max(int(timeline), last.epoch), read_lsn(position)
        return replace(
            last,
            asked=asked,
            reached=Reached(last.system, {str(epoch): reached}),
            epoch=epoch,
            order=reached,
            shown=show_lsn(reached),
        )

    def wait(self, token: Token, *, last: Report, timeout: float) -> str | None:
        position = dict(token.marks).get(str(last.epoch))
        if last.version < _CAN_WAIT or last.writable or position is None or not token.is_known:
            return None
        # Blind to timelines, as its manual says. NO_THROW: neither is an error of the time-out.
        milliseconds = max(1, round(timeout * 1000))  # 0 would wait for ever
        return f"WAIT FOR LSN '{show_lsn(position)}' WITH (TIMEOUT '{milliseconds}ms', NO_THROW)"

    def token(self, said: str, *, last: Report) -> Token:
        file, lsn, segment_size = said.split()
        end = last_record_end(read_lsn(lsn), segment_size=int(_setting(segment_size)))
        return _token(last.system, int(file[:8], 16), end)

    def is_read_only(self, code: str | int | None, message: str) -> bool:
        return False  # 25006 is said of a transaction, whoever made it so

    def is_farewell(self, code: str | int | None) -> bool:
        return code in _FAREWELLS

    def trouble(self, code: str | int | None) -> Trouble:
        state = str(code or "")
        if state in _TROUBLE:
            return _TROUBLE[state]
        if not state or state.startswith((_CONNECTION, *_EXHAUSTED)):
            return Trouble.OTHER
        return Trouble.LOGIN if state.startswith(_LOGIN) else Trouble.SERVER_SAID_NO


def _token(system: str, timeline: int, position: int) -> Token:
    return Token(system, timeline, ((str(timeline), position),))


def read_lsn(text: str) -> int:
    """``"16/B374D848"`` as a number of bytes."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def show_lsn(position: int) -> str:
    """A number of bytes as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def is_on(setting: str | None) -> bool | None:
    """What a server reports of a setting; ``None`` if nothing."""
    return None if setting is None else setting == "on"


@lru_cache
def _setting(text: str) -> float:
    match = re.fullmatch(r"(\d+)(\w+)", text)
    if match is None:
        return float(text)
    return int(match[1]) * _UNITS[match[2]]
