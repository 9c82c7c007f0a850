"""1 to 1,000 uploads at a time in one process: by how much its memory grows. S3 is a sink that keeps nothing.

``python -m benchmarks.bench_scale_uploads COUNT PORT`` is one measurement, in a process of its own.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from benchmarks._growth import Growth
from benchmarks._s3_sink import OPTIONS, sink
from benchmarks._scale_series import Series
from scalekit.storage import KiB, MiB
from scalekit.storage.budget import UPLOADS
from scalekit.storage.s3 import S3Storage

COUNTS = (1, 10, 30, 100, 300, 1_000)
SIZE = 1 * MiB
CHUNK = 64 * KiB
_BREATH = 0.01  # seconds between two pieces of a body: a client with 50 Mbit/s


class _Arriving:
    """A body that comes as fast as its client can send."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in range(SIZE // CHUNK):
            yield number.to_bytes(4, "big") * (CHUNK // 4)
            await asyncio.sleep(_BREATH)


async def series(most: int = COUNTS[-1]) -> AsyncIterator[Series]:
    rows = []
    with sink() as port:
        for count in (count for count in COUNTS if count <= most):
            found = await _measured(count, port)
            rows.append([count, found["grown"] / MiB, count * SIZE / MiB, found["seconds"], found["cpu"]])
    yield Series(
        name="uploads",
        title="MiB by which the memory of a process grows, by uploads at a time",
        columns=["uploads at a time", "growth, MiB", "bodies, MiB", "seconds", "of a processor"],
        rows=rows,
        drawn={"growth, MiB": "growth", "bodies, MiB": "all bodies together"},
        notes=(
            f"Bodies of {SIZE // MiB} MiB come in pieces of 64 KiB, 100 a second each, to S3Storage with its",
            f"default budget of {UPLOADS.limit // MiB} MiB. The peak, above what the process took before.",
        ),
        log_y=True,
    )


async def _measured(count: int, port: int) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.bench_scale_uploads", str(count), str(port)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    found: dict[str, float] = json.loads(output)
    return found


async def _one(count: int, port: int) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        endpoint = f"http://127.0.0.1:{port}"
        storage = await stack.enter_async_context(S3Storage("media", endpoint_url=endpoint, **OPTIONS))
        await storage.put("warm-up", b"x" * CHUNK)  # what is made once is not growth
        growth = Growth()
        start, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(storage.put(f"photo-{number}", _Arriving()) for number in range(count)))
        seconds, cpu = time.perf_counter() - start, time.process_time() - used
        return {"grown": growth.peak(), "seconds": seconds, "cpu": cpu}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_one(int(sys.argv[1]), int(sys.argv[2])))))
