"""Free ports on 127.0.0.1, all below the ephemeral range.

An ephemeral port (what ``bind(0)`` hands out) can be taken by any outgoing connection while its server
is down, and a client that connects to a closed ephemeral port can even connect to itself. A server that
a test kills and starts again needs a port where neither happens.
"""

import random
import socket

HOST = "127.0.0.1"
BUS_OFFSET = 10_000  # a Redis Cluster node listens on its port + 10000 too

_handed_out: set[int] = set()


def is_free(port: int) -> bool:
    """Whether nobody listens on `port` and no connection lingers there."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def is_served(port: int) -> bool:
    """Whether somebody listens on `port` now. Connections that linger from before do not count."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def free_port(*, bus: bool = False) -> int:
    """A port that nobody uses and that this process has not handed out before.

    `bus` asks that port + 10000 is free as well. Another process may still take it in between: servers
    try again with another port when theirs turns out to be taken.
    """
    for _ in range(1_000):
        port = random.randrange(10_000, 22_000)
        wanted = {port, port + BUS_OFFSET} if bus else {port}
        if wanted.isdisjoint(_handed_out) and all(map(is_free, wanted)):
            _handed_out.update(wanted)
            return port
    raise OSError(f"no free port on {HOST} between 10000 and 22000")
