"""Which server the Sentinels name: the one that they have promoted, as soon as they have.

redis-py asks each Sentinel for ``SENTINEL MASTERS``, where the one that leads a failover names the old
master until the other replicas follow the new one. Whoever asks that one first is sent to the old one for
seconds, and up to the time-out of the failover if a replica hangs. ``SENTINEL GET-MASTER-ADDR-BY-NAME``
names the new one from its promotion on, and is what clients are to ask ("Guidelines for Redis clients with
support for Redis Sentinel"); but it does not say that a master is down. So it is asked where the first
answer tells of a failover.
"""

from typing import Any

from redis import exceptions
from redis.utils import str_if_bytes

from scalekit._steps import Steps, run, run_async
from scalekit.types import Colour

_LEADING = "failover_in_progress"

# A Sentinel that is gone or refuses, or whose address is somebody else's: redis-py reads what it is told as
# the state of masters, and stumbles over anything else.
_OF_NO_USE = (exceptions.RedisError, TypeError, ValueError, LookupError)


def name_promoted(manager: Any, library: Any, colour: Colour) -> None:
    """Have ``manager``, a ``Sentinel`` of redis-py, name promoted servers. One with its own way keeps it.

    Args:
        library: ``redis.sentinel`` or ``redis.asyncio.sentinel``, which have the same names.
    """
    if type(manager).discover_master is not library.Sentinel.discover_master:
        return

    async def discover(service: str) -> Any:
        return await run_async(_discover(manager, service, library.MasterNotFoundError))

    if colour == "async":
        manager.discover_master = discover
    else:
        manager.discover_master = lambda service: run(
            _discover(manager, service, library.MasterNotFoundError)
        )


def _discover(manager: Any, service: str, none: type[Exception]) -> Steps[tuple[str, int]]:
    for number, sentinel in enumerate(manager.sentinels):
        try:
            state = (yield sentinel.sentinel_masters()).get(service)
            if state is None or state["num-other-sentinels"] < manager.min_other_sentinels:
                continue
            place, is_up = (state["ip"], state["port"]), manager.check_master_state(state, service)
            if not is_up or _LEADING in state["flags"]:
                # In this order: the other way round a failover between the two would seem to lead back.
                named = yield sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", service)
                if named is not None and (other := (str_if_bytes(named[0]), named[1])) != place:
                    place, is_up = other, True
        except _OF_NO_USE:
            continue
        if is_up:
            # The next time it is asked first.
            manager.sentinels[0], manager.sentinels[number] = sentinel, manager.sentinels[0]
            return manager._force_master_ip or place[0], place[1]
    raise none(f"no Sentinel names a master of {service!r} that is up")
