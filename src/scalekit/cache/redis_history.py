"""Whether a server still has what the cache was told: asked over each new connection.

Redis replicates behind, and writes to its disk behind. A replica that is promoted may never have heard of
the last invalidations, and a server that is started again reads what it had written last. Nobody need have
noticed: sessions in the same Redis keep requests from coming as far as the cache while it is away.

So the generation's record has the history of the data that it was made in: Redis's *replication id*, which
a server makes anew when it becomes a primary, by its start or by a promotion. A connection that leads to a
server with another one gives the generation a new version, which drops everything, before anything is read
over it. Those that come later find that done. A replica refuses: a connection from before its promotion would
go on after that without having asked.
"""

import logging
import secrets
from typing import Any

from scalekit._redis import Greeting, Request
from scalekit.cache import redis_scripts as scripts
from scalekit.cache.versions import VERSION_BYTES

log = logging.getLogger("scalekit.cache")


class History:
    """The check of one back end.

    Args:
        name: the link's, for messages.
        generation: the key of the generation's record.
        stream: that of what is dropped.
    """

    def __init__(self, name: str, *, generation: str, stream: str) -> None:
        self._name, self._keys = name, (generation, stream)
        self._told = False
        self.greeting = Greeting(self._request, self._accepts)

    def _request(self) -> Request:
        return scripts.CHECK_HISTORY.request(self._keys, [secrets.token_bytes(VERSION_BYTES)])

    def _accepts(self, reply: Any) -> bool:
        if reply == scripts.OTHER:
            log.info(
                "%s: another server has taken over, or it has started again: what was cached is dropped",
                self._name,
            )
        elif reply == scripts.UNKNOWN and not self._told:
            self._told = True
            log.warning(
                "%s does not tell its replication id, by which the cache knows a server that has taken over: "
                "after a failover older results may be served until their ttl. Allow its user INFO",
                self._name,
            )
        return reply in (scripts.SAME, scripts.NEW, scripts.OTHER, scripts.UNKNOWN)
