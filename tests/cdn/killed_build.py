"""Builds that are killed at every step; run as a program of its own, for it forks.

For each step of a build (each change to a folder), before and after it: a child builds a third release into a
copy of a folder that has two, and kills itself there. What it leaves is looked at, and built once more.
"""

import itertools
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scalekit.cdn import Assets, Manifest
from scalekit.cdn.build import build, releases
from scalekit.cdn.compress import Compression
from tests.cdn.conftest import write_tree

STEPS = ("replace", "rename", "unlink", "mkdir", "rmdir")
OPTIONS: dict[str, Any] = {"keep": 2, "compression": Compression(br=None, zstd=None), "jobs": 2}
TEXT = b"repeated " * 100


def state(out: Path) -> str:
    """``"whole"`` if every file that a manifest names is there and what it says; else what is wrong."""
    Assets.from_manifest(out / "manifest.json", folder=out)
    for manifest in [Manifest.load(out / "manifest.json"), *releases(out)]:
        Assets.from_manifest(manifest, folder=out)
        missing = [name for name in manifest.files if not (out / name).is_file()]
        if missing:
            return f"{missing} are missing"
    return "whole"


def names(out: Path) -> set[str]:
    """All files but the releases, whose numbers may differ."""
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(".scalekit/releases/")}


def killer(step: int, *, after: bool) -> None:
    """Let the process kill itself at its ``step``-th change."""
    steps = itertools.count(1)  # of several threads

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            mine = next(steps)
            if mine == step and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return function(*args, **options)
            finally:  # whether it could be done or not
                if mine == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        return wrapped

    for name in STEPS:
        setattr(os, name, wrap(getattr(os, name)))
    Path.write_bytes = wrap(Path.write_bytes)  # type: ignore[method-assign]


def killed(source: Path, out: Path, step: int, *, after: bool) -> bool:
    child = os.fork()
    if child == 0:
        killer(step, after=after)
        build(source, out, **OPTIONS)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def main(folder: Path) -> dict[str, int]:
    source, first, expected = folder / "src", folder / "first", folder / "expected"
    # Two releases before the one that is killed, so that it has one to take away.
    for number in range(2):
        digit = str(number).encode()
        write_tree(source, {"a.js": digit + TEXT, f"old/b{number}.txt": digit + TEXT, "c.png": digit})
        build(source, first, **OPTIONS)
        (source / f"old/b{number}.txt").unlink()
    sheets = {"css/e.css": b"@import '../css/f.css'", "css/f.css": TEXT}
    write_tree(source, {"a.js": b"3" + TEXT, "new/d.txt": TEXT, **sheets})
    shutil.copytree(first, expected)
    build(source, expected, **OPTIONS)
    before, after = (Manifest.load(path / "manifest.json").to_bytes() for path in (first, expected))
    seen: Counter[str] = Counter()
    for late in (False, True):
        step = 1
        while True:
            out = folder / f"out-{late}-{step}"
            shutil.copytree(first, out)
            if not killed(source, out, step, after=late):
                break
            assert state(out) == "whole", (step, late, state(out))
            found = (out / "manifest.json").read_bytes()
            assert found in (before, after), (step, late)
            seen["old" if found == before else "new"] += 1
            seen["kills"] += 1
            build(source, out, **OPTIONS)
            assert state(out) == "whole", (step, late)
            assert names(out) == names(expected), (step, late, names(out) ^ names(expected))
            assert len(releases(out)) == 2, (step, late)
            shutil.rmtree(out)
            step += 1
    return dict(seen)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
