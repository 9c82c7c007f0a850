"""How MariaDB and MySQL cut a text into words, and what of their SQL only the primary may run."""

import re

from scalekit.database.sqltext.rules import TextRules

# One alternative for each lexical class; the order matters. Comments do not nest. What is in /*! ... */ or
# /*M! ... */ is executed by some versions and not by others: not understood.
_TOKEN = re.compile(
    r"""
      (?P<skip>\s+|\#[^\n]*|--(?=\s|\Z)[^\n]*|/\*(?!M?!).*?\*/)
    | (?P<odd>/\*)
    | (?P<string>(?:\b[bBxXnN])?'(?:[^'\\]|'')*'|"(?:[^"\\]|"")*")
    | (?P<quoted>`(?:[^`]|``)+`)
    | (?P<word>[A-Za-z_$\x80-\U0010ffff][\w$]*)
    | (?P<number>\d[\w.]*)
    | (?P<symbol>[^'"`])
    """,
    re.VERBOSE | re.DOTALL,
)

# Functions that a replica runs without an error although their effect belongs on the primary or in the
# session that goes on there. The others are refused in a READ ONLY transaction, and retried. FOUND_ROWS() and
# ROW_COUNT() are not here: they tell of the statement before, wherever that ran, and so must follow it.
_WRITING_FUNCTIONS = frozenset(
    {
        "get_lock",
        "is_free_lock",
        "is_used_lock",
        "last_insert_id",
        "lastval",
        "load_file",
        "nextval",
        "release_all_locks",
        "release_lock",
        "setval",
    }
)
_WRITING_PREFIXES = (
    "asynchronous_connection_failover_",
    "group_replication_",
    "service_",
    "sys_",
)
_PAIRS = frozenset(
    {
        ("lock", "in"),
        (":", "="),
        ("next", "value"),
        ("previous", "value"),
        ("@", "identity"),  # @@last_insert_id
        ("performance_schema", "."),
        ("sys", "."),
    }
)

# Variables and views about a server rather than its data, and what the next number of a table or a sequence
# will be: the primary counts those that it gave to nobody, too.
_RELATIONS = frozenset(
    {
        "auto_increment",
        "currval",
        "global_status",
        "gtid_binlog_pos",
        "gtid_binlog_state",
        "gtid_current_pos",
        "gtid_executed",
        "insert_id",
        "last_gtid",
        "last_insert_id",
        "metadata_lock_info",
        "next_not_cached_value",
        "nextval",
        "processlist",
    }
)


def words(sql: str) -> list[str] | None:
    """The words and single symbols of ``sql`` in order and in lower case; literals are left out.

    A quoted name keeps a quote before it, so that it cannot be taken for a keyword. ``None`` when the text
    cannot be cut into tokens with certainty: what a backslash in a literal and a double quote mean depends
    on the server's ``sql_mode``.
    """
    found: list[str] = []
    position = 0
    while position < len(sql):
        token = _TOKEN.match(sql, position)
        if token is None or token.lastgroup == "odd":
            return None
        position = token.end()
        match token.lastgroup:
            case "word" | "symbol":
                found.append(token[0].lower())
            case "quoted":
                found.append(f'"{token[0][1:-1].replace("``", "`").lower()}')
            case "string" if token[0][0] == '"':
                # With ANSI_QUOTES a name, which a parenthesis would make a function.
                found.append(f'"{token[0][1:-1].lower()}')
    return found


RULES = TextRules(
    words=words,
    functions=_WRITING_FUNCTIONS,
    prefixes=_WRITING_PREFIXES,
    relations=_RELATIONS,
    relation_prefixes=("innodb_",),
    pairs=_PAIRS,
)
