"""Sessions: in-process under ASGI, in-process under WSGI, and requests/s of a real server.

The three files say what they measure. Every number is taken side by side with the peers' on one Valkey.
"""

from collections.abc import AsyncIterator

from benchmarks import bench_sessions_asgi, bench_sessions_server, bench_sessions_wsgi
from benchmarks.harness import Case


async def cases() -> AsyncIterator[Case]:
    for module in (bench_sessions_asgi, bench_sessions_wsgi, bench_sessions_server):
        async for case in module.cases():
            yield case
