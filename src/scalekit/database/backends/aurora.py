"""What an Amazon Aurora PostgreSQL server can tell us. Built after its documents; not tried on a real one.

An Aurora has one volume that all of its servers share. Its readers follow the writer in a way of their own:
the functions for the log (``pg_current_wal_lsn()``, ``pg_last_wal_replay_lsn()``) are missing, or there for
logical replication only. ``aurora_replica_status()`` has positions of Aurora's own, and no document says how
old its row about the writer may be: what it says right after a commit may be from before it.

So what counts is the snapshots themselves, and the numbers of transactions in them.

From Amazon's documents and its own drivers:

* ``aurora_replica_status()`` has one row for each server; ``server_id`` names it, and the ``session_id`` of a
  writer is ``MASTER_SESSION_ID``. A writer's ``durable_lsn`` is "currently in effect", a reader's is what it
  has applied, and ``current_read_lsn`` is of the snapshot "that's been applied to all readers". How often
  rows are refreshed is not said, and a reader's may be stale.
* ``aurora_db_instance_identifier()`` is the ``server_id`` of whom one has asked; ``pg_is_in_recovery()`` is
  true on readers; ``aurora_stat_utils`` in ``rds.extensions`` tells an Aurora from Amazon's other PostgreSQL.
* Storage is shared: a failover loses nothing that was acknowledged, and cuts the old writer off. Readers
  usually lag by less than 100 ms.

Rules:

* A visitor's position is the end (``xmax``) of a snapshot of the writer's after the commit: every transaction
  whose commit was acknowledged until then has a lower number.
* A reader has it when the start (``xmin``) of a snapshot of its own is not below it: no lower number is still
  under way there, so that this snapshot, and every later one, shows what became of all of them. That is how
  PostgreSQL decides which rows a snapshot shows. A reader for which it did not hold would show wrong rows.
* The list of transactions between the two is empty in a reader's snapshot, whatever is under way: nothing may
  be concluded from it. So a transaction that has written and stays open keeps what was written after it began
  on the writer. How far a reader is behind is told from ``xmax``, which such a one does not hold back; that
  is an estimate, and promises nothing.
* A reader may show a transaction a moment before the writer does, which takes it off its list of those under
  way last. So what readers can have shown at most is all that the writer has given a number.
* A new writer has recovered the whole volume before it is one, and goes on counting: there are no epochs, and
  nothing that was acknowledged is lost, but for ``synchronous_commit=off``.
* Servers name no system. A reader of another cluster, such as a clone, is told by the list that it keeps of
  the servers of its own (``aurora_replica_status()``), on which the writer is missing. That list may be late,
  and so only grows useful: it never makes a read fresh.
"""

from dataclasses import replace
from typing import Any

from scalekit.database.backends.postgresql import PostgreSQL
from scalekit.database.report import Report
from scalekit.database.tokens import Reached, Token

SYSTEM = "aurora"

ORIGIN = "xid"
"""The one origin of changes: a writer takes up the numbers where the one before left them."""

_START, _END = (f"pg_snapshot_{edge}(pg_current_snapshot())::text" for edge in ("xmin", "xmax"))

# No function of Aurora's: what the list costs is not documented, and is nothing to ask for before each read.
# The next number, of which nobody has seen anything: that of its age is how PostgreSQL tells it.
_NEXT = f"{_END}::int8 + age({_END}::xid)"

INLINE = f"SELECT pg_is_in_recovery(), {_START}, {_END}"

QUESTION = f"""
SELECT pg_is_in_recovery(), {_START}, {_END},
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE {_NEXT} END,
       aurora_db_instance_identifier()::text,
       (SELECT string_agg(server_id, ' ') FROM aurora_replica_status()),
       extract(epoch FROM pg_postmaster_start_time())::float8,
       current_setting('default_transaction_read_only')
"""  # noqa: S608  (made of constants)

POSITION = f"CASE WHEN pg_is_in_recovery() THEN NULL ELSE {_END} END"


class Aurora(PostgreSQL):
    """Amazon Aurora PostgreSQL; implements :class:`.protocol.Backend`."""

    name = "Aurora PostgreSQL"
    question, inline, position = QUESTION, INLINE, POSITION
    conflict_cure = "raise max_standby_streaming_delay in the parameter group"

    def report(self, row: tuple[Any, ...], *, asked: float) -> Report:
        recovering, start, end, following, name, servers, started, read_only = row
        if recovering:
            reached = _reached(start, end)
        else:
            reached = Reached(SYSTEM, {ORIGIN: int(end)}, seen={ORIGIN: following})
        written = None if recovering else self._token(int(end))
        return Report(
            asked=asked,
            writable=not recovering,
            reached=reached,
            epoch=0,
            order=int(start if recovering else end),
            written=written,
            flushed=written,
            flush_delay=0.0,
            server=f"{name} {started}",
            shown=start if recovering else end,
            read_only=read_only == "on",
            own=name,
            peers=frozenset((servers or "").split()),
        )

    def inline_report(self, row: tuple[Any, ...], *, asked: float, last: Report) -> Report | None:
        recovering, start, end = row
        if not recovering or last.writable:
            return None
        return replace(
            last,
            asked=asked,
            reached=_reached(start, end),
            order=int(start),
            shown=start,
            peers=frozenset(),  # the last list may be as old as the connection
        )

    def wait(self, token: Token, *, last: Report, timeout: float) -> str | None:
        return None

    def token(self, said: str, *, last: Report) -> Token:
        return self._token(int(said))

    def _token(self, end: int) -> Token:
        return Token.of(SYSTEM, 0, {ORIGIN: end})


def _reached(start: str, end: str) -> Reached:
    return Reached(SYSTEM, {ORIGIN: int(start)}, seen={ORIGIN: int(end)})
