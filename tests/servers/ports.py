"""Free ports on 127.0.0.1, all below the ephemeral range, and of one process alone.

An ephemeral port (what ``bind(0)`` hands out) can be taken by any outgoing connection while its server
is down, and a client that connects to a closed ephemeral port can even connect to itself. A server that
a test kills and starts again needs a port where neither happens, nor may another suite that runs at the same
time start a server there meanwhile. So each process claims blocks of ports, and takes its own from these.
"""

import random
import socket

HOST = "127.0.0.1"
BUS_OFFSET = 10_000  # a Redis Cluster node listens on its port + 10000 too

_BLOCK = 250
_BLOCKS = range(10_000, 20_000, _BLOCK)

_claims: list[socket.socket] = []
_mine: list[int] = []


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

    `bus` asks that port + 10000 is free as well. A stranger may still take it in between: servers try
    again with another port when theirs turns out to be taken.
    """
    while True:
        if not _mine:
            _claim_block()
        port = _mine.pop()
        if is_free(port) and (not bus or is_free(port + BUS_OFFSET)):
            return port


def _claim_block() -> None:
    """Claim a block until the process ends, by its first port for UDP, which none of our servers uses."""
    for start in random.sample(_BLOCKS, len(_BLOCKS)):
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind((HOST, start))
        except OSError:
            claim.close()
        else:
            _claims.append(claim)
            _mine.extend(random.sample(range(start, start + _BLOCK), _BLOCK))
            return
    raise OSError(f"every port from {_BLOCKS[0]} to {_BLOCKS[-1] + _BLOCK - 1} on {HOST} is claimed")
