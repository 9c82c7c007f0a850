"""Global transaction ids, and what MariaDB's and MySQL's servers have in common.

A mark of theirs has an origin of two parts, ``line:server``. The servers of a line write in turns, each after
it has what the others had written: a commit on one of them comes after all that is in its history.
"""

import re
from collections.abc import Mapping

from scalekit.database.backends.protocol import Trouble
from scalekit.database.report import Report
from scalekit.database.sqltext import endings
from scalekit.database.sqltext.endings import Ending
from scalekit.database.sqltext.mysql import RULES
from scalekit.database.tokens import Reached, Token

# Of the server: ER_OPTION_PREVENTS_STATEMENT (--read-only), ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION,
# ER_READ_ONLY_MODE.
_OPTION, _READ_ONLY_MODE = 1290, 1836
_WRITE_REFUSED = (_OPTION, 1792, _READ_ONLY_MODE)
# ER_CHECKREAD (changed since the snapshot), ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK.
_CONFLICT = (1020, 1205, 1213)
# Shutting down, connections that were killed or that the server gave up, timed out.
_GONE = (1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 4031)
# Too many connections: of all, of a user's by the server's limit, by the user's own.
_FULL = (1040, 1203, 1226)
# The database, the user, the host, a user without a password.
_LOGIN = (1044, 1045, 1049, 1129, 1130, 1698)
# ER_ERROR_DURING_COMMIT, and an interruption, which a COMMIT that waits for a replica survives.
_OUTCOME_NOT_KNOWN = (1180, 1317)

_TROUBLE = {
    **dict.fromkeys(_WRITE_REFUSED, Trouble.WRITE_REFUSED),
    **dict.fromkeys(_CONFLICT, Trouble.CONFLICT),
    **dict.fromkeys(_GONE, Trouble.GONE),
    **dict.fromkeys(_FULL, Trouble.FULL),
    **dict.fromkeys(_LOGIN, Trouble.LOGIN),
    **dict.fromkeys(_OUTCOME_NOT_KNOWN, Trouble.OTHER),
}
# Between the servers' first and second thousand of errors lie those that the client finds.
_CLIENT = range(2000, 3000)

_INTERVAL = re.compile(r"(\d+)(?:-(\d+))?")

GONE = frozenset({*_GONE, *_FULL, *_CLIENT})
"""Codes of errors after which a connection is of no more use."""

_ending = endings.mysql(RULES)


class GTIDBackend:
    """What is the same in both kinds of servers."""

    conflict_cure = "take no locks in what only reads"
    # Reads take locks there, which belong on the primary.
    primary_only_isolation = frozenset({"SERIALIZABLE"})
    rules = RULES

    def ending(self, sql: str) -> Ending:
        return _ending(sql)

    def wait(self, token: Token, *, last: Report, timeout: float) -> None:
        return None

    def is_read_only(self, code: str | int | None, message: str) -> bool:
        # The option that stands in the way is named in every language.
        return code == _READ_ONLY_MODE or (code == _OPTION and "read-only" in message.replace("_", "-"))

    def is_farewell(self, code: str | int | None) -> bool:
        return code in _GONE

    def trouble(self, code: str | int | None) -> Trouble:
        if not isinstance(code, int) or code <= 0:
            return Trouble.OTHER
        if code in _CLIENT:
            return Trouble.GONE
        return _TROUBLE.get(code, Trouble.SERVER_SAID_NO)


def report(
    reached: Reached,
    *,
    written: Token | None,
    order: int,
    asked: float,
    server: str,
    shown: str,
    replayed: tuple[int, str] | None = None,
) -> Report:
    """What a server said of itself; nobody counts promotions, and what is in the log is flushed.

    Args:
        reached: what it has.
        written: where its log ends; ``None`` on a replica.
        order: how far that is, to tell which of two replicas is ahead.
        asked: when the question left (monotonic).
        server: which process of which server it is, the server's own origin first.
        shown: its position, for people.
        replayed: of a primary that was a replica, up to where it had replayed then.
    """
    return Report(
        asked=asked,
        writable=written is not None,
        reached=reached,
        epoch=0,
        order=order,
        written=written,
        flushed=written,
        flush_delay=0.0,
        server=server,
        shown=shown,
        own=server.split()[0].lower(),
        replayed=replayed,
        run=server,
    )


def is_on(value: object) -> bool:
    """Whether a system variable is on; newer servers answer some of them as words."""
    return str(value).upper() not in ("0", "OFF")


def mariadb_marks(text: str) -> dict[str, int]:
    """``"0-1-42,0-2-40"`` as ``{"0:1": 42, "0:2": 40}``: of each domain and server the last number."""
    marks: dict[str, int] = {}
    for gtid in filter(None, (one.strip() for one in text.split(","))):
        domain, server, number = gtid.split("-")
        origin = f"{domain}:{server}"
        marks[origin] = max(int(number), marks.get(origin, 0))
    return marks


def newest(marks: Mapping[str, int]) -> dict[str, int]:
    """The one with the highest number of each domain: in a domain, numbers only grow."""
    best: dict[str, tuple[int, str]] = {}
    for origin, number in marks.items():
        line = origin.partition(":")[0]
        best[line] = max((number, origin), best.get(line, (0, "")))
    return {origin: number for number, origin in best.values()}


def mysql_marks(text: str, *, gaps: bool) -> dict[str, int]:
    """``"3e11fa47-…:1-57:60,…"`` as ``{":3e11fa47-…": 57}``, or 60: of each server how far.

    A tag, as of MySQL 8.3, is a part of the origin.

    Args:
        text: a set of ids.
        gaps: count what is behind a gap too: what was committed last, rather than what there is of all of
            it. Transactions that commit at the same time leave gaps for a moment, on the primary too.
    """
    marks: dict[str, int] = {}
    for one in filter(None, ("".join(part.split()) for part in text.lower().split(","))):
        server, *parts = one.split(":")
        origin = f":{server}"
        for part in parts:
            interval = _INTERVAL.fullmatch(part)
            if interval is None:
                origin = f":{server}:{part}"
            elif gaps or int(interval[1]) == 1:
                marks[origin] = int(interval[2] or interval[1])
    return marks
