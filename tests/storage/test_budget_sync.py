"""Synchronous uploads wait for memory as asynchronous ones do: in threads, over several event loops, before a
real S3 server."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

from scalekit.storage import MiB
from scalekit.storage.s3 import S3Storage
from scalekit.storage.sync import SyncStorage
from tests.faults import FaultProxy
from tests.servers import S3Server, wait_until
from tests.storage.test_budget import CHUNK, Clock, budget

UPLOADS, CHUNKS = 6, MiB // CHUNK


def put(storage: SyncStorage, key: str, source: bytes | Iterator[bytes], size: int) -> threading.Thread:
    thread = threading.Thread(target=storage.put, args=(key, source), kwargs={"size": size}, daemon=True)
    thread.start()
    return thread


def test_first_come_first_served(s3_server: S3Server, bucket: str) -> None:
    """Memory is full of what S3 has not taken yet: whoever comes then is asked for no second chunk. Once
    there is room for one they go on in the order in which they came, each with all that it needs before
    the next gets anything, whichever event loop they are in. All arrive whole, and nothing is held at the
    end."""
    memory = budget(2 * MiB + 2 * CHUNK, Clock())  # in which nobody gets slow
    taken = list[int]()

    def source(number: int) -> Iterator[bytes]:
        for _ in range(CHUNKS):
            taken.append(number)
            yield bytes([number]) * CHUNK

    with ExitStack() as stack:

        def storage(port: int) -> SyncStorage:
            options = s3_server.client_kwargs | {"endpoint_url": f"http://127.0.0.1:{port}"}
            return stack.enter_context(S3Storage(bucket, memory=memory, **options).sync())

        stalled, other = (stack.enter_context(FaultProxy("127.0.0.1", s3_server.port)) for _ in range(2))
        behind_stalled, behind_other = storage(stalled.port), storage(other.port)
        loops = [storage(s3_server.port), storage(s3_server.port)]
        for proxy in (stalled, other):
            proxy.delay(3600)
            stack.callback(proxy.pass_through)  # before the storages are closed, which wait for their uploads
        first = put(behind_stalled, "stalled", bytes(MiB), MiB)
        second = put(behind_other, "other", bytes(MiB + 2 * CHUNK), MiB + 2 * CHUNK)
        wait_until(lambda: memory._sending == memory.limit, what="S3 is sent as much as may be held")

        waiting = []
        for number in range(UPLOADS):
            waiting.append(put(loops[number % 2], f"{number}", source(number), MiB))
            wait_until(lambda: memory._line.size == len(waiting) * CHUNK, what="it waits")
        assert taken == list(range(UPLOADS))

        other.pass_through()
        for thread in (second, *waiting):
            thread.join(60)
            assert not thread.is_alive()
        assert taken[UPLOADS:] == [number for number in range(UPLOADS) for _ in range(CHUNKS - 1)]
        assert first.is_alive(), "while something is being sent nobody goes on over the limit"

        stalled.pass_through()
        first.join(60)
        assert memory.held == memory._promises.total == 0
        for number in range(UPLOADS):
            assert loops[0].read(f"{number}") == bytes([number]) * MiB
