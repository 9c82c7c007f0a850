"""Uploads in 64 KiB chunks to a bare S3 sink, beside obstore, aioboto3 and boto3; forms; memory; concurrency.

The floors are the same bytes on a raw socket, without and with their SHA-256. The sink is a Python process on
the same machine: where a floor is as fast as the sink reads, it is the sink that is measured, and where few
cores are busy it takes its share of them. Who the contenders are and how they are set up:
:mod:`benchmarks._storage_contenders`.

``SCALEKIT_BENCH_MIB=1024 ./dev bench storage`` uploads 1 GiB instead of 256 MiB.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks._s3_sink import sink
from benchmarks._storage_contenders import (
    AIOBOTO3,
    OBSTORE,
    OURS,
    S3TRANSFER,
    SHA256,
    SOCKET,
    Upload,
    contenders,
)
from benchmarks._storage_forms import form_cases
from benchmarks._storage_latency import SECONDS, here, picture
from benchmarks.harness import Case, Result
from scalekit.storage import KiB, MiB

_LARGE = int(os.environ.get("SCALEKIT_BENCH_MIB", "256")) * MiB
_LINK = 100 * MiB
_PICTURE = Path("benchmarks/results/storage-concurrency.svg")


async def cases() -> AsyncIterator[Case | list[Result]]:
    """Cases, and results of what is no time."""
    async for case in form_cases():
        yield case
    with sink() as port:
        for signed in (True, False):
            async with contenders(port, signed=signed) as found:
                name = f"upload of {_LARGE // MiB} MiB" + ("" if signed else ", bodies not signed")
                yield _case(name, found, _LARGE, rounds=7)
        async with contenders(port) as found:
            for size, number, rounds in ((8 * MiB, 1, 15), (256 * KiB, 1, 40), (256 * KiB, 32, 10)):
                shown = f"{size // MiB} MiB" if size >= MiB else f"{size // KiB} KiB"
                yield _case(f"upload of {shown}, {number} concurrent", found, size, number, rounds=rounds)
        for name, megabytes in ((f"{size // MiB} MiB", size) for size in (_LARGE // 4, _LARGE)):
            yield await _children(f"memory of an upload of {name}", port, megabytes)
    with sink(bytes_per_second=_LINK) as port:
        yield await _children(f"memory of an upload of 128 MiB at {_LINK // MiB} MiB/s", port, 128 * MiB)
        async with contenders(port) as found:
            del found[SHA256]
            yield _case(f"upload of 128 MiB at {_LINK // MiB} MiB/s", found, 128 * MiB, rounds=3)
    yield await _latency()


def _case(name: str, found: dict[str, Upload], size: int, number: int = 1, *, rounds: int) -> Case:
    def times(upload: Upload) -> Callable[[], Awaitable[Any]]:
        async def together() -> None:
            await asyncio.gather(*(upload(size) for _ in range(number)))

        return together

    return Case(
        piece="storage",
        name=name,
        ours=times(found[OURS]),
        peers={peer: times(upload) for peer, upload in found.items() if peer not in (OURS, SOCKET)},
        floor=times(found[SOCKET]),
        rate=True,
        units=number,
        rounds=rounds,
    )


async def _children(name: str, port: int, size: int) -> list[Result]:
    """Memory in KiB and processor time in us, each of a process of its own that uploads once."""
    grown: dict[str, float] = {}
    used: dict[str, float] = {}
    for contender in (OURS, OBSTORE, AIOBOTO3, S3TRANSFER):
        arguments = ["-m", "benchmarks._storage_contenders", contender, str(port), str(size)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        found = json.loads(output)
        grown[contender], used[contender] = found["grown"] / KiB, found["seconds"] * 1e6
    return [*_beside(f"{name}: growth, KiB", grown), *_beside(f"{name}: processor time", used)]


def _beside(case: str, numbers: dict[str, float]) -> list[Result]:
    ours = numbers.pop(OURS)
    return [_result(case, ours, peer, theirs) for peer, theirs in numbers.items()]


async def _latency() -> list[Result]:
    speeds = await picture(_PICTURE, here())
    return [
        _result(
            f"upload of 256 MiB, {SECONDS * 1000:.0f} ms a part, concurrency {speed.concurrency}",
            speed.seconds * 1e6,
            floor=speed.waiting * 1e6,
        )
        for speed in speeds
    ]


def _result(
    case: str,
    ours: float,
    peer: str | None = None,
    theirs: float | None = None,
    *,
    floor: float | None = None,
) -> Result:
    return Result(
        piece="storage",
        case=case,
        ours_us=round(ours, 1),
        peer=peer,
        peer_us=None if theirs is None else round(theirs, 1),
        ratio=None if theirs is None else round(ours / theirs, 3),
        floor_us=None if floor is None else round(floor, 1),
        rate=floor is not None,
    )
