"""MariaDB: one server, primary or GTID replica."""

import signal
from functools import cache
from pathlib import Path

from tests.servers import scratch
from tests.servers.base import Server
from tests.servers.programs import find_program, run
from tests.servers.waiting import wait_until

USER = "app"
_CURE = "apt-get install --no-install-recommends mariadb-server"

_SETTINGS = {
    "skip-name-resolve": "1",
    "max-connections": "200",
    "performance-schema": "0",
    "innodb-buffer-pool-size": "16M",
    "innodb-log-file-size": "4M",
    "innodb-flush-method": "fsync",  # O_DIRECT does not work in memory
    "innodb-use-native-aio": "0",
    # A commit survives the death of the process, though not of the machine.
    "innodb-flush-log-at-trx-commit": "2",
    "sync-binlog": "0",
    "log-bin": "binlog",
    "binlog-format": "ROW",
    "log-slave-updates": "1",
    "gtid-strict-mode": "1",
    # A replica refuses the functions of its primary without it.
    "log-bin-trust-function-creators": "1",
    "character-set-server": "utf8mb4",
}

# `app` may do what an application may; SUPER or READ_ONLY ADMIN would let it write to a replica.
_RIGHTS = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, REFERENCES, LOCK TABLES, EXECUTE, TRIGGER,"
    " CREATE VIEW, CREATE TEMPORARY TABLES, PROCESS, RELOAD, BINLOG MONITOR, SLAVE MONITOR"
)
_ACCOUNTS = f"""\
SET sql_log_bin = 0;
CREATE USER IF NOT EXISTS {USER}@127.0.0.1;
GRANT {_RIGHTS} ON *.* TO {USER}@127.0.0.1;
CREATE USER IF NOT EXISTS replication@127.0.0.1;
GRANT REPLICATION SLAVE ON *.* TO replication@127.0.0.1;
"""


@cache
def _fresh_data() -> Path:
    """What mariadb-install-db makes; made once in each process, since copying it is ten times as fast."""
    directory = scratch.make_directory("mariadb-install-db")
    data = directory / "data"
    run(
        find_program("mariadb-install-db", cure=_CURE), "--no-defaults", f"--datadir={data}",
        "--auth-root-authentication-method=normal", "--skip-test-db",
        *(f"--{name}={value}" for name, value in _SETTINGS.items() if name.startswith("innodb")),
        cwd=directory,
    )  # fmt: skip
    return data


class MariaDBServer(Server):
    """One MariaDB server: user ``app`` without a password on 127.0.0.1; `sql` acts as root by the socket.

    `options` are lines of its configuration, with ``_`` for ``-``.
    """

    name = "mariadb"
    close_signal = signal.SIGKILL  # the data are thrown away

    def __init__(self, *, server_id: int = 1, port: int | None = None, **options: str | int) -> None:
        super().__init__(port=port)
        self.options: dict[str, str | int] = {"server-id": server_id, **options}

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    def prepare(self) -> None:
        accounts = self.directory / "accounts.sql"
        accounts.write_text(_ACCOUNTS)
        settings = {
            **_SETTINGS,
            "datadir": self.data,
            "bind-address": self.host,
            "port": self.port,
            "socket": self.directory / "socket",
            "pid-file": self.directory / "pid",
            "init-file": accounts,
            **{name.replace("_", "-"): value for name, value in self.options.items()},
        }
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self.directory / "my.cnf").write_text(f"[mariadbd]\n{lines}")
        if not self.data.exists():
            run("cp", "-Rp", str(_fresh_data()), str(self.data), cwd=self.directory)

    def command(self) -> list[str]:
        return [find_program("mariadbd", cure=_CURE), f"--defaults-file={self.directory / 'my.cnf'}"]

    def is_ready(self) -> bool:
        # The pid file is written once the port is bound, this line once connections are accepted.
        return "ready for connections" in self.log and (self.directory / "pid").exists()

    def url(self, driver: str | None = "asyncmy", database: str = "mysql") -> str:
        """A SQLAlchemy URL; with ``driver=None`` a plain ``mysql://`` one."""
        scheme = f"mysql+{driver}" if driver else "mysql"
        return f"{scheme}://{USER}@{self.host}:{self.port}/{database}"

    def sql(
        self, *statements: str, database: str = "mysql", user: str | None = None, timeout: float = 30
    ) -> str:
        """Run the statements as root by the socket, or as `user` by the port; columns come tab-separated."""
        way = ["-h", self.host, "-P", str(self.port), "-u", user] if user else ["-u", "root"]
        return self._client(
            *way, "--batch", "--skip-column-names", "-e", ";".join(statements), database, timeout=timeout
        )

    def _client(self, *arguments: str, timeout: float = 30) -> str:
        program, socket = find_program("mariadb", cure=_CURE), str(self.directory / "socket")
        return run(
            program, "--no-defaults", "-S", socket, *arguments, cwd=self.directory, timeout=timeout
        ).strip()

    def follow(self, primary: "MariaDBServer") -> None:
        """Replicate from `primary` from now on, by GTID."""
        self.sql(
            "STOP SLAVE",
            f"CHANGE MASTER TO master_host='{primary.host}', master_port={primary.port},"
            " master_user='replication', master_connect_retry=1, master_use_gtid=slave_pos",
            "START SLAVE",
            "SET GLOBAL read_only = 1",
        )
        wait_until(lambda: self.replicating, what="replication starts")

    def replica_status(self) -> dict[str, str]:
        """``SHOW REPLICA STATUS``; empty on a primary."""
        text = self._client("-u", "root", "--vertical", "-e", "SHOW REPLICA STATUS")
        rows = (line.split(":", 1) for line in text.splitlines() if ":" in line)
        return {name.strip(): value.strip() for name, value in rows}

    @property
    def replicating(self) -> bool:
        status = self.replica_status()
        return status.get("Slave_IO_Running") == status.get("Slave_SQL_Running") == "Yes"

    def position(self) -> str:
        """The GTID up to which this server has written or applied: ``0-1-42``."""
        return self.sql("SELECT @@gtid_current_pos")

    def wait_for(self, position: str) -> None:
        """Return when this replica has applied up to `position`."""
        if self.sql(f"SELECT MASTER_GTID_WAIT('{position}', 30)", timeout=40) != "0":
            raise TimeoutError(f"replay up to {position}: not within 30 s")

    def pause_replay(self) -> None:
        """A replica receives but shows nothing new until `resume_replay()`."""
        self.sql("STOP SLAVE SQL_THREAD")

    def resume_replay(self) -> None:
        """Replay again; a server that was promoted meanwhile has nothing to replay."""
        if self.replica_status():
            self.sql("START SLAVE SQL_THREAD")

    def promote(self) -> None:
        """A replica becomes a primary; returns when it takes writes."""
        self.sql("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0")
