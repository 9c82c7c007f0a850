"""How an upload profits from several parts in flight, where S3 is far away: measured, and drawn.

``python -m benchmarks._storage_latency`` draws the picture in the documentation anew.
"""

import argparse
import asyncio
import os
import statistics
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks._s3_sink import OPTIONS, sink
from benchmarks._storage_contenders import PART, Arriving
from scalekit.storage import MiB
from scalekit.storage.s3 import S3Storage

SECONDS = 0.14
LEVELS = (1, 2, 4, 8)
_SIZE = 256 * MiB
_ROUNDS = 3

_BARS = 300  # pixels that the highest one takes
_STEP = 130


@dataclass(frozen=True)
class Speed:
    """Seconds that an upload took with so many parts in flight, and that the waiting alone would take."""

    concurrency: int
    seconds: float
    waiting: float

    @property
    def rate(self) -> float:
        return _SIZE / MiB / self.seconds

    @property
    def bound(self) -> float:
        return _SIZE / MiB / self.waiting


async def measured() -> list[Speed]:
    """The levels take turns; each has the median of its rounds."""
    seconds: dict[int, list[float]] = {level: [] for level in LEVELS}
    with sink(part_seconds=SECONDS) as port:
        for _ in range(_ROUNDS):
            for level in LEVELS:
                endpoint = f"http://127.0.0.1:{port}"
                async with S3Storage("media", concurrency=level, endpoint_url=endpoint, **OPTIONS) as storage:
                    await storage.put("small", b"", overwrite=True)
                    start = time.perf_counter()
                    await storage.put("object.bin", Arriving(_SIZE), overwrite=True)
                    seconds[level].append(time.perf_counter() - start)
    rounds_of_parts = {level: -(-_SIZE // PART // level) for level in LEVELS}
    return [
        Speed(level, statistics.median(seconds[level]), rounds_of_parts[level] * SECONDS) for level in LEVELS
    ]


def draw(speeds: list[Speed], where: str) -> str:
    """The picture as SVG."""
    scale = _BARS / max(speed.bound for speed in speeds)
    bars = []
    for position, speed in enumerate(speeds):
        left, height, bound = 60 + position * _STEP, speed.rate * scale, speed.bound * scale
        bars.append(
            f'<rect x="{left}" y="{390 - height:.0f}" width="70" height="{height:.0f}" fill="#2563eb"/>'
            f'<path d="M{left - 8} {390 - bound:.0f}h86" stroke="#b45309" stroke-width="2"/>'
            f'<text x="{left + 35}" y="{408 - height:.0f}" fill="#fff">{speed.rate:.0f}</text>'
            f'<text x="{left + 35}" y="{382 - bound:.0f}" fill="#b45309">{speed.bound:.0f}</text>'
            f'<text x="{left + 35}" y="412">{speed.concurrency}</text>'
        )
    how = (
        f"{_SIZE // MiB} MiB in parts of {PART // MiB} MiB, each answered {SECONDS * 1000:.0f} ms late.",
        f"Bars: median of {_ROUNDS} uploads, {where}. Lines: if this waiting were all.",
    )
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 490" font-family="sans-serif"'
            ' font-size="14" text-anchor="middle">',
            '<rect width="560" height="490" fill="#fff"/>',
            '<text x="280" y="30" font-size="17">MiB/s of one upload, by parts in flight</text>',
            *bars,
            '<path d="M40 390h490" stroke="#334155"/>',
            '<text x="280" y="434">concurrency=</text>',
            *(
                f'<text x="280" y="{456 + 18 * line}" font-size="11" fill="#475569">{escape(words)}</text>'
                for line, words in enumerate(how)
            ),
            "</svg>\n",
        ]
    )


async def picture(path: Path, where: str) -> list[Speed]:
    """Measure, and write the picture to ``path``."""
    speeds = await measured()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draw(speeds, where))
    return speeds


def here(state: str = "") -> str:
    """Where it was measured, in a few words."""
    return f"loopback, {os.cpu_count()} cores{state}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the picture of the documentation anew.")
    parser.add_argument("--path", type=Path, default=Path("docs/_static/storage-concurrency.svg"))
    parser.add_argument("--state", default="", help="of the machine, such as ', busy'")
    arguments = parser.parse_args()
    for one in asyncio.run(picture(arguments.path, here(arguments.state))):
        print(f"concurrency {one.concurrency}: {one.rate:.0f} MiB/s, at most {one.bound:.0f}")
