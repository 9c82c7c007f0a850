"""The servers that have the keys of a link, over connections of their own: for people who look into them.

The pieces' connections have one time-out for all and share what they send; and a question to each node of a
Cluster has no key that would lead to it.
"""

from collections.abc import Sequence
from typing import Any

from redis import exceptions

from scalekit._redis.clients import Source
from scalekit._redis.topology import Topology, name_of_node
from scalekit._steps import Steps
from scalekit.types import Colour


def masters(source: Source, colour: Colour) -> Steps[list[tuple[str, Any]]]:
    """The server, or each master of its Cluster: its name, without credentials, and a new pool.

    Raises:
        redis.exceptions.RedisError, OSError, LookupError, ValueError: no node of the Cluster tells.
    """
    if not source.cluster:
        return [(source.name, source.pool(colour))]
    topology, failure = Topology(source.seeds), LookupError("no node of the Cluster is known")
    for seed in source.seeds:
        try:
            (reply,) = yield from ask(source.node_pool(colour, seed), ("CLUSTER", "SLOTS"))
        except (exceptions.RedisError, OSError) as error:
            failure = error  # type: ignore[assignment]
            continue
        topology.read(reply, seed, source)
        break
    else:
        raise failure
    return [
        (name_of_node(source.name, place), source.node_pool(colour, place))
        for place in sorted(topology.primaries)
    ]


def ask(pool: Any, *commands: Sequence[str]) -> Steps[list[Any]]:
    """The replies to ``commands``, one after the other; in place of one its ``ResponseError``."""
    connection = yield pool.get_connection()
    replies: list[Any] = []
    try:
        for command in commands:
            yield connection.send_command(*command)
            try:
                replies.append((yield connection.read_response()))
            except exceptions.ResponseError as error:
                replies.append(error)
    finally:
        yield pool.disconnect()
    return replies
