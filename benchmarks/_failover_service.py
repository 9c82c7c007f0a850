"""A master, two replicas and three Sentinels, with links between them that can be slow or cut.

Who asks a server is told by the user that they log in as: ``near`` are the application's processes on the
master's side of the network, ``far`` the others, ``sentinel`` the Sentinels. A server that is cut off from
somebody ends their connections and lets them log in no more: clients may be quick then, as nothing but the
links of replication passes a proxy.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.faults import FaultProxy
from tests.servers import RedisSentinel, RedisServer, wait_until
from tests.servers.redis_sentinel import SERVICE, SentinelServer

PASSWORD = "bench"
DOWN_AFTER = 1000
"""Milliseconds without an answer, after which a Sentinel takes the master for dead."""


class Node(RedisServer):
    """A server with the three users."""

    def command(self) -> list[str]:
        command = super().command()
        with (self.directory / "redis.conf").open("a") as config:
            for user in ("near", "far", "sentinel"):
                config.write(f"user {user} on >{PASSWORD} ~* &* +@all\n")
        return command

    def shut_out(self, *users: str) -> None:
        for user in users:
            self.call("ACL", "SETUSER", user, "off")
            self.call("CLIENT", "KILL", "USER", user)

    def let_in(self, *users: str) -> None:
        for user in users:
            self.call("ACL", "SETUSER", user, "on")


class Sentinel(SentinelServer):
    """One that logs in."""

    def configure(self, lines: list[str]) -> None:
        login = [f"sentinel auth-user {SERVICE} sentinel", f"sentinel auth-pass {SERVICE} {PASSWORD}"]
        super().configure([*lines, *login])


class Service(RedisSentinel):
    """``.links``, one for each replica that has got one, and ``.doors``, the near side's way to Sentinels.

    Args:
        options: lines of each server's configuration.
    """

    def __init__(self, **options: str | int) -> None:
        self._options = options
        self.links: dict[Node, FaultProxy] = {}
        self.doors: list[FaultProxy] = []
        super().__init__()

    def _make(self) -> None:
        def node(**more: str | int) -> Node:
            return Node(password=PASSWORD, repl_diskless_sync_delay=0, **self._options, **more)

        first = node()
        self.nodes = [first, *(node(replicaof=f"{first.host} {first.port}") for _ in range(2))]
        self.data = list(self.nodes)
        self.sentinels = [Sentinel() for _ in range(3)]

    def urls(self) -> dict[str, str]:
        """For processes of the near and of the far side."""
        near = self.url
        for door in self.doors:
            near = door.url(near)
        return {
            side: f"{url}?username={side}&password={PASSWORD}"
            for side, url in (("near", near), ("far", self.url))
        }

    def watch_closely(self) -> None:
        """From now on: before, a busy machine would be taken for a dead master."""
        for sentinel in self.sentinels:
            sentinel.call("SENTINEL", "SET", SERVICE, "down-after-milliseconds", DOWN_AFTER)

    def taken_over(self, old: RedisServer) -> RedisServer:
        """The new master, once every Sentinel names it and it takes writes."""

        def named() -> bool:
            ports = set()
            for sentinel in self.sentinels:
                (flat,) = sentinel.call("SENTINEL", "MASTERS")
                ports.add(int(dict(zip(flat[::2], flat[1::2], strict=True))[b"port"]))
            return len(ports) == 1 and old.port not in ports

        wait_until(named, timeout=60, what="a failover", interval=0.05)
        new = self.master
        wait_until(lambda: new.info("replication")["role"] == "master", what="a master that takes writes")
        return new

    def wait_deserted(self, old: RedisServer) -> None:
        """Return when nobody asks `old` any more: what it confirms until then is lost as well."""

        def asked() -> str:
            return old.info("commandstats")["cmdstat_evalsha"].partition(",")[0]

        def silent() -> bool:
            before = asked()
            time.sleep(0.5)
            return asked() == before

        if old.running:
            wait_until(silent, timeout=60, what="nobody asks the old master")


@contextmanager
def service(delays: dict[int, float], **options: str | int) -> Iterator[Service]:
    """A new service.

    Args:
        delays: seconds by which a link to a replica, 1 or 2, is late; a replica that is not named follows the
            master without one.
        options: as for `Service`.
    """
    with ExitStack() as stack:
        made = stack.enter_context(Service(**options))
        made.doors = [
            stack.enter_context(FaultProxy(sentinel.host, sentinel.port)) for sentinel in made.sentinels
        ]
        for sentinel in made.sentinels:  # or they would have the replicas leave their links
            sentinel.call("SENTINEL", "SET", SERVICE, "failover-timeout", 180_000)
        master = made.nodes[0]
        for number, seconds in delays.items():
            link = stack.enter_context(FaultProxy(master.host, master.port))
            link.delay(seconds)
            made.links[made.nodes[number]] = link
            made.nodes[number].call("REPLICAOF", link.host, link.port)
        wait_until(lambda: in_step(master), what="replicas in step")
        yield made


def in_step(master: RedisServer) -> bool:
    told = [text for name, text in master.info("replication").items() if name.startswith("slave")]
    states = [dict(part.split("=") for part in text.split(",")) for text in told]
    return [state["state"] for state in states] == ["online", "online"]
