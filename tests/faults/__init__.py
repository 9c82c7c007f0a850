"""Breaking servers on purpose, each fault undone when its context ends.

kill(server)                      SIGKILL to the whole tree; `server.start()` brings it back
with freeze(server): ...          it keeps its connections and answers nothing
with pause_replay(replica): ...   a replica that falls behind while it answers
promote(replica)                  a replica becomes a primary
with FaultProxy(host, port) as proxy: proxy.blackhole()    the network between
Interrupted(commands, 3, act)     what another process does before the command of that number
"""

from tests.faults.interrupted import Interrupted
from tests.faults.processes import freeze, kill
from tests.faults.proxy import FaultProxy
from tests.faults.replication import pause_replay, promote

__all__ = ["FaultProxy", "Interrupted", "freeze", "kill", "pause_replay", "promote"]
