"""How PostgreSQL cuts a text into words, and which of its functions and views are the primary's."""

import re

from scalekit.database.sqltext.rules import TextRules

# One alternative for each lexical class; the order matters. Names after PostgreSQL's manual, section 4.1.
_TOKEN = re.compile(
    r"""
      (?P<skip>\s+|--[^\r\n]*)
    | (?P<comment>/\*)
    | (?P<odd>[uU]&['"])                           # escapes that depend on a UESCAPE clause further on
    | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<string>[bBxXnN]?'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")+")
    | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff]\w*)?\$)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$]*)
    | (?P<number>\d[\w.]*)
    | (?P<symbol>[^'"])
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"/\*|\*/")

# Functions that a standby runs without an error although their effect belongs on the primary or in the
# session that goes on there, or that mean the primary: its log, sessions, locks, statistics, memory,
# settings, files. What became of a transaction (pg_xact_status) a standby does not know before it has
# replayed it. The others raise 25006 and are retried.
#
# Not here: what tells where one is (version(), pg_postmaster_start_time()) and how far that is behind
# (pg_last_wal_replay_lsn(), pg_last_xact_replay_timestamp(), pg_control_recovery()), to which a primary has
# no answer; what was set for the transaction, by listeners too (current_setting()); what is the same
# everywhere (pg_control_system(), pg_control_init(), the sizes of tables).
_WRITING_FUNCTIONS = frozenset(
    {
        "currval",
        "lastval",
        "nextval",
        "pg_available_extension_versions",
        "pg_available_extensions",
        "pg_available_wal_summaries",
        "pg_blocking_pids",
        "pg_cancel_backend",
        "pg_collation_actual_version",
        "pg_conf_load_time",
        "pg_config",
        "pg_control_checkpoint",
        "pg_current_logfile",
        "pg_current_snapshot",
        "pg_current_xact_id",
        "pg_current_xact_id_if_assigned",
        "pg_cursor",
        "pg_database_collation_actual_version",
        "pg_export_snapshot",
        "pg_freespace",
        "pg_get_aios",
        "pg_get_backend_memory_contexts",
        "pg_get_loaded_modules",
        "pg_get_logical_snapshot_info",
        "pg_get_logical_snapshot_meta",
        "pg_get_replication_slots",
        "pg_get_sequence_data",
        "pg_get_shmem_allocations",
        "pg_get_shmem_allocations_numa",
        "pg_get_wal_block_info",
        "pg_get_wal_record_info",
        "pg_get_wal_records_info",
        "pg_get_wal_records_info_till_end_of_wal",
        "pg_get_wal_stats",
        "pg_get_wal_stats_till_end_of_wal",
        "pg_get_wal_summarizer_state",
        "pg_hba_file_rules",
        "pg_ident_file_mappings",
        "pg_last_committed_xact",
        "pg_listening_channels",
        "pg_lock_status",
        "pg_log_backend_memory_contexts",
        "pg_logical_emit_message",
        "pg_notification_queue_usage",
        "pg_notify",
        "pg_prepared_statement",
        "pg_prepared_xact",
        "pg_prewarm",
        "pg_promote",
        "pg_reload_conf",
        "pg_rotate_logfile",
        "pg_safe_snapshot_blocking_pids",
        "pg_sequence_last_value",
        "pg_show_all_file_settings",
        "pg_show_all_settings",
        "pg_show_replication_origin_status",
        "pg_switch_wal",
        "pg_terminate_backend",
        "pg_wal_summary_contents",
        "pg_walfile_name",
        "pg_walfile_name_offset",
        "pg_xact_status",
        "pgrowlocks",
        "set_config",
        "setseed",
        "setval",
        "txid_current",
        "txid_current_if_assigned",
        "txid_current_snapshot",
        "txid_status",
    }
)
_WRITING_PREFIXES = (
    "autoprewarm_",
    "dblink",
    "lo_",
    "lowrite",
    "pg_advisory_",
    "pg_backup_",
    "pg_buffercache",
    "pg_copy_",
    "pg_create_",
    "pg_current_wal_",
    "pg_drop_",
    "pg_file_",
    "pg_logical_slot_",
    "pg_ls_",
    "pg_read_",
    "pg_replication_",
    "pg_stat_",
    "pg_try_advisory_",
    "pg_wal_replay_",
)

# Views about a server rather than its data: its locks, its memory, its settings and files, what it has to
# install, and what a connection was told by statements that only the primary runs (PREPARE, DECLARE).
# pg_prepared_xacts is always empty on a standby. Not here: pg_stats, pg_statistic, pg_timezone_names and
# pg_wait_events, which are the same everywhere.
_RELATIONS = frozenset(
    {
        "pg_aios",
        "pg_available_extension_versions",
        "pg_available_extensions",
        "pg_backend_memory_contexts",
        "pg_config",
        "pg_cursors",
        "pg_file_settings",
        "pg_hba_file_rules",
        "pg_ident_file_mappings",
        "pg_locks",
        "pg_prepared_statements",
        "pg_prepared_xacts",
        "pg_sequences",
        "pg_settings",
    }
)
_RELATION_PREFIXES = ("pg_buffercache", "pg_replication_", "pg_shmem_allocations", "pg_stat_", "pg_statio_")

# Where a sequence is: a standby shows that up to 32 numbers ahead, as it is in the log. (last_value() is a
# window function, and no column.)
_COLUMNS = frozenset({"is_called", "last_value", "log_cnt"})


def words(sql: str) -> list[str] | None:
    """The words and single symbols of ``sql`` in order and in lower case; literals are left out.

    A quoted name keeps its first quote, ``"name``, so that it cannot be taken for a keyword. ``None``
    when the text cannot be cut into tokens with certainty.
    """
    found: list[str] = []
    position = 0
    while position < len(sql):
        token = _TOKEN.match(sql, position)
        if token is None:
            return None
        position = token.end()
        match token.lastgroup:
            case "word" | "symbol":
                found.append(token[0].lower())
            case "quoted":
                found.append(token[0][:-1].replace('""', '"').lower())
            case "comment":
                position = _end_of_comment(sql, position)
            case "dollar":
                end = sql.find(token[0], position)
                position = end + len(token[0]) if end >= 0 else -1
            # With standard_conforming_strings off, a backslash would move the end of the literal.
            case "string" if "\\" in token[0]:
                return None
            case "odd":
                return None
        if position < 0:
            return None
    return found


def _end_of_comment(sql: str, position: int) -> int:
    depth = 1  # comments nest in PostgreSQL
    for mark in _COMMENT.finditer(sql, position):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return -1


RULES = TextRules(
    words=words,
    functions=_WRITING_FUNCTIONS,
    prefixes=_WRITING_PREFIXES,
    relations=_RELATIONS,
    relation_prefixes=_RELATION_PREFIXES,
    columns=_COLUMNS,
)
