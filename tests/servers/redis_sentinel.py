"""Redis under Sentinel: a master, two replicas, and three sentinels that agree on a failover."""

import secrets

from tests.servers import resp
from tests.servers.base import Server
from tests.servers.group import Group
from tests.servers.redis import RedisServer, redis_binary
from tests.servers.waiting import wait_until

SERVICE = "service"


class SentinelServer(RedisServer):
    """One sentinel. It keeps what it knows in its configuration file, which it rewrites itself."""

    def __init__(self) -> None:
        super().__init__()
        self.run_id = secrets.token_hex(20)

    def configure(self, lines: list[str]) -> None:
        head = [
            f"port {self.port}",
            f"bind {self.host}",
            f'dir "{self.directory}"',
            f"sentinel myid {self.run_id}",
        ]
        (self.directory / "sentinel.conf").write_text("\n".join([*head, *lines]) + "\n")

    def command(self) -> list[str]:
        return [redis_binary(), str(self.directory / "sentinel.conf"), "--sentinel"]

    def is_ready(self) -> bool:
        try:
            return self.info("server", timeout=0.5)["process_id"] == str(self.pid)
        except (OSError, resp.ReplyError):
            return False


class RedisSentinel(Group):
    """``.url``, ``.master`` as of now, ``.replicas``, ``.sentinels``, and ``.data``: all `RedisServer`, the
    first of which starts as master.

    The service is called ``service``. A master counts as down after `down_after` milliseconds: patient by
    default, so that a machine under load sees no failover that nobody asked for.
    """

    def __init__(self, *, replicas: int = 2, sentinels: int = 3, down_after: int = 10_000) -> None:
        self._counts, self._down_after = (replicas, sentinels), down_after
        super().__init__()

    def _make(self) -> None:
        replicas, sentinels = self._counts
        first = RedisServer(repl_diskless_sync_delay=0)
        self.data = [
            first,
            *(
                RedisServer(repl_diskless_sync_delay=0, replicaof=f"{first.host} {first.port}")
                for _ in range(replicas)
            ),
        ]
        self.sentinels = [SentinelServer() for _ in range(sentinels)]

    @property
    def servers(self) -> list[Server]:
        return [*self.sentinels, *self.data]

    @property
    def url(self) -> str:
        """``redis+sentinel://host:port,host:port,host:port/service/0``"""
        return (
            f"redis+sentinel://{','.join(f'{each.host}:{each.port}' for each in self.sentinels)}/{SERVICE}/0"
        )

    @property
    def master(self) -> RedisServer:
        """The server that the sentinels call master."""
        _, port = self._ask("GET-MASTER-ADDR-BY-NAME")
        return next(server for server in self.data if server.port == int(port))

    @property
    def replicas(self) -> list[RedisServer]:
        master = self.master
        return [server for server in self.data if server is not master]

    def _ask(self, command: str) -> list[bytes]:
        sentinel = next(each for each in self.sentinels if each.running)
        reply: list[bytes] = sentinel.call("SENTINEL", command, SERVICE)
        return reply

    def _bring_up(self) -> None:
        master, *replicas = self.data
        quorum = len(self.sentinels) // 2 + 1
        for sentinel in self.sentinels:
            sentinel.configure(
                [
                    f"sentinel monitor {SERVICE} {master.host} {master.port} {quorum}",
                    f"sentinel down-after-milliseconds {SERVICE} {self._down_after}",
                    f"sentinel failover-timeout {SERVICE} 10000",
                    # As if they had met before: finding each other takes seconds.
                    *(f"sentinel known-replica {SERVICE} {each.host} {each.port}" for each in replicas),
                    *(
                        f"sentinel known-sentinel {SERVICE} {each.host} {each.port} {each.run_id}"
                        for each in self.sentinels
                        if each is not sentinel
                    ),
                ]
            )
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait_ready()
        self.wait_ok()

    def wait_ok(self) -> None:
        """Return when every running replica follows the master that the sentinels name, in step."""
        wait_until(self._is_ok, what="replicas follow the master")

    def _is_ok(self) -> bool:
        try:
            master = self.master
            if not master.running or master.info("replication")["role"] != "master":
                return False
            for server in self.data:
                if server.running and server is not master:
                    seen = server.info("replication")
                    if seen.get("master_port") != str(master.port) or seen["master_link_status"] != "up":
                        return False
        except (OSError, resp.ReplyError):
            return False
        return True

    def fail_over(self, old: RedisServer) -> RedisServer:
        """Have a replica promoted now, whatever the sentinels think of `old`; the new master."""
        wait_until(lambda: self.master is not old or self._has_begun(), what="a replica to promote")
        return self.wait_failover(old)

    def _has_begun(self) -> bool:
        try:
            self._ask("FAILOVER")
        except resp.ReplyError:  # no replica has answered lately
            return False
        return True

    def wait_failover(self, old: RedisServer) -> RedisServer:
        """Return the new master once another one than `old` is master and the others follow it."""
        # A Sentinel that has stood still for two seconds does nothing for the next thirty, and if they cannot
        # agree on who leads they wait for twenty.
        wait_until(lambda: self.master is not old, timeout=90, what="a failover")
        self.wait_ok()
        return self.master
