"""PostgreSQL: one server, primary or streaming replica."""

from __future__ import annotations

import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path

from tests.servers import scratch
from tests.servers.base import Server
from tests.servers.pgwire import query
from tests.servers.postgres_binaries import postgres_bin
from tests.servers.programs import run
from tests.servers.waiting import wait_until

USER = "postgres"

_SETTINGS = {
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "16MB",
    # Throw-away data: what a crash of the machine would lose is of no interest. synchronous_commit stays on.
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "checkpoint_timeout": "30min",
    "log_checkpoints": "off",
    "dynamic_shared_memory_type": "mmap",  # inside the data directory, so that a killed server leaves none
    "wal_level": "replica",
    "max_wal_senders": "10",
    "max_prepared_transactions": "10",
    "wal_keep_size": "256MB",  # a replica that was frozen or down catches up
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "100ms",  # back in no time when the primary returns
    "hot_standby": "on",
}


@cache
def _fresh_data() -> Path:
    """What initdb makes; made once in each process, since copying it is ten times as fast."""
    directory = scratch.make_directory("initdb")
    data = directory / "data"
    run(
        str(postgres_bin() / "initdb"), "-D", str(data), "-U", USER, "-A", "trust",
        "-E", "UTF8", "--locale=C", "--no-sync", cwd=directory,
    )  # fmt: skip
    return data


class PostgresServer(Server):
    """One PostgreSQL server: user ``postgres``, trusted on 127.0.0.1 without a password.

    `options` are further lines of postgresql.conf: ``PostgresServer(synchronous_commit="remote_apply")``.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": does not wait for clients to leave
    close_signal = signal.SIGQUIT  # "immediate": does not wait for replicas either

    def __init__(self, *, port: int | None = None, **options: str | int) -> None:
        super().__init__(port=port)
        self.options = options

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    def prepare(self) -> None:
        if not self.data.exists():
            run("cp", "-Rp", str(_fresh_data()), str(self.data), cwd=self.directory)
        settings = {**_SETTINGS, "listen_addresses": self.host, "port": self.port, **self.options}
        # PostgreSQL reads it after its own file, so that ALTER SYSTEM still has the last word.
        (self.data / "conf.d").mkdir(exist_ok=True)
        lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        (self.data / "conf.d/scalekit.conf").write_text(lines)
        main = self.data / "postgresql.conf"
        if "include_dir 'conf.d'" not in main.read_text():
            main.write_text(main.read_text() + "\ninclude_dir 'conf.d'\n")

    def command(self) -> list[str]:
        return [str(postgres_bin() / "postgres"), "-D", str(self.data)]

    def is_ready(self) -> bool:
        # The server's own word, so that nobody else on the port can be mistaken for it: line 1 is its pid,
        # line 8 becomes "ready" when it accepts connections (a replica: read-only ones).
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def url(self, driver: str | None = "asyncpg", database: str = "postgres") -> str:
        """A SQLAlchemy URL; with ``driver=None`` a plain ``postgresql://`` one."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{USER}@{self.host}:{self.port}/{database}"

    def sql(self, *statements: str, database: str = "postgres", timeout: float = 30.0) -> str:
        """Run each statement in a transaction of its own; a line for each row, ``|`` between its columns."""
        rows = query(self.host, self.port, *statements, user=USER, database=database, timeout=timeout)
        return "\n".join(rows).strip()

    def make_standby(self, primary: PostgresServer) -> None:
        """Make this server, which was never started, a replica of `primary`, which neither was.

        Both start from the same files, as after pg_basebackup and in a tenth of the time.
        """
        self.options["primary_conninfo"] = conninfo(primary, self)
        self.prepare()
        (self.data / "standby.signal").touch()

    @property
    def in_recovery(self) -> bool:
        return self.sql("SELECT pg_is_in_recovery()") == "t"

    def position(self) -> str:
        """The end of what a primary has written, or of what a replica has replayed: ``0/3000148``."""
        return self.sql(
            "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
        )

    def wait_for(self, position: str) -> None:
        """Return when this replica has replayed up to `position`."""
        query = f"SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn"
        wait_until(lambda: self.sql(query) == "t", what=f"replay up to {position}")

    def pause_replay(self) -> None:
        """A replica receives but shows nothing new until `resume_replay()`."""
        self.sql("SELECT pg_wal_replay_pause()")
        query = "SELECT pg_get_wal_replay_pause_state()"
        wait_until(lambda: self.sql(query) == "paused", what="replay pauses")

    def resume_replay(self) -> None:
        """Replay again; a server that was promoted meanwhile has nothing to replay."""
        self.sql("SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_replay_resume() END")

    def promote(self) -> None:
        """A replica becomes a primary; returns when it takes writes."""
        self.sql("SELECT pg_promote()")
        wait_until(lambda: not self.in_recovery, what="promotion")

    def follow(self, primary: PostgresServer) -> None:
        """A running replica follows another primary from now on."""
        self.options["primary_conninfo"] = conninfo(primary, self)
        self.prepare()
        self.sql("SELECT pg_reload_conf()")

    def _bury(self, pids: list[int]) -> None:
        super()._bury(pids)
        # A postmaster that was killed leaves a small System V segment, which would stay until the machine
        # restarts; line 7 of the file that it leaves too says which.
        left = self.data / "postmaster.pid"
        if left.exists() and len(lines := left.read_text().splitlines()) >= 7 and shutil.which("ipcrm"):
            subprocess.run(["ipcrm", "-m", lines[6].split()[1]], stderr=subprocess.DEVNULL)


def conninfo(primary: PostgresServer, replica: PostgresServer) -> str:
    """How `replica` reaches `primary`; the names tell replicas apart in pg_stat_replication."""
    return (
        f"host={primary.host} port={primary.port} user={USER} sslmode=disable gssencmode=disable"
        f" application_name=replica_{replica.port}"
    )
