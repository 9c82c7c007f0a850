"""FileStorage on disks that are full, read-only or not ours, and with names that are too long for them."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scalekit.errors import InvalidKey, ObjectExists, ObjectMissing, StorageError
from scalekit.storage import FileStorage, MiB
from scalekit.storage._disk_draft import Draft
from tests.servers import ServerMissing
from tests.storage.helpers import cancel_everywhere, stream

_SCRIPT = """
import asyncio, json, os, subprocess, sys
from scalekit.errors import StorageError
from scalekit.storage import FileStorage

directory = sys.argv[1]
storage = FileStorage(directory)

async def stream(size):
    for _ in range(size // 65536):
        yield os.urandom(65536)

async def failure(call):
    try:
        await call
    except StorageError as error:
        return [type(error).__name__, getattr(error, "status", None), str(error)]

def files():
    return sorted(os.path.join(above, name) for above, _, names in os.walk(directory) for name in names)

def free():
    return os.statvfs(directory).f_bavail

async def main():
    %s

print(json.dumps(asyncio.run(main())))
"""


async def run(body: str, directory: Path, *, mounted: bool = False) -> Any:
    """What ``body`` returns in a process of its own, on a disk of a megabyte if ``mounted``."""
    code = _SCRIPT % body.strip().replace("\n", "\n    ")
    command = [sys.executable, "-c", code, str(directory)]
    if mounted:
        # Of a name space of mounts that ends with the process, so that nothing stays mounted.
        inside = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
        command = ["unshare", "-rm", "sh", "-c", inside, str(directory), *command]
        if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
            raise ServerMissing("a name space of mounts", cure="allow unprivileged user name spaces")
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_a_full_disk(tmp_path: Path) -> None:
    """23. A disk without room is a StorageFull, answered with 507; what was there stays, and nothing else."""
    first, copied, old, names, before, after = await run(
        """
await storage.put("old", b"old" * 100_000)
before = free()
first = await failure(storage.put("new/big", stream(2_000_000)))
copied = await failure(storage.compose("old-twice", ["old"] * 4))
again = await failure(storage.put("old", stream(2_000_000), overwrite=True))
assert again[:2] == first[:2]
return first, copied, len(await storage.read("old")), files(), before, free()
""",
        tmp_path,
        mounted=True,
    )
    said = f"No space left on device, in the folder {str(tmp_path)!r}; make room there"
    assert first == ["StorageFull", 507, f"cannot store 'new/big': {said}"]
    assert copied == ["StorageFull", 507, f"cannot store 'old-twice': {said}"]
    assert old == 300_000
    assert names == [str(tmp_path / "old")]
    assert after >= before - 1  # the directory


async def test_a_read_only_mount(tmp_path: Path) -> None:
    """23. It is read as ever; a write says that it is mounted read-only, before it takes a byte."""
    content, failed = await run(
        """
await storage.put("old", b"old")
subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
async def untouched():
    raise AssertionError("read")
    yield b""
return (await storage.read("old")).decode(), [
    await failure(storage.put("new", untouched())),
    await failure(storage.put("old", untouched(), overwrite=True)),
    await failure(storage.delete("old")),
]
""",
        tmp_path,
        mounted=True,
    )
    assert content == "old"
    assert [error[0] for error in failed] == ["UploadFailed", "UploadFailed", "StorageError"]
    assert failed[0][1] == 503
    for error in failed:
        assert error[2].endswith(
            f"Read-only file system, in the folder {str(tmp_path)!r}; it is mounted read-only"
        )


async def test_without_rights(tmp_path: Path) -> None:
    """23. Who has no right to write is told which user that is; who has none to read, too."""
    tmp_path.chmod(0o755)
    for above in tmp_path.parents:
        if above.name.startswith("pytest-"):
            above.chmod(0o755)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0)
    tmp_path.chmod(0o555)
    user, failed = await run(
        """
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
return os.geteuid(), [
    await failure(storage.put("a", b"x")), await failure(storage.put("b/a", b"x")),
    await failure(storage.delete("secret")), await failure(storage.read("secret")),
]
""",
        tmp_path,
    )
    tmp_path.chmod(0o755)
    said = f"Permission denied, in the folder {str(tmp_path)!r}; "
    said += f"the user with the id {user} may not do that there"
    assert failed == [
        ["UploadFailed", 503, f"cannot store 'a': {said}"],
        ["UploadFailed", 503, f"cannot store 'b/a': {said}"],
        ["StorageError", None, f"cannot delete 'secret': {said}"],
        ["StorageError", None, f"cannot read 'secret': {said}"],
    ]


async def test_a_name_too_long_for_the_file_system(tmp_path: Path) -> None:
    """23. A key that a file system cannot hold is an InvalidKey before a byte is read; nothing has it."""
    deep = tmp_path
    while len(str(deep)) < 3500:
        deep = deep / ("d" * 200)
    deep.mkdir(parents=True)
    storage = FileStorage(deep)
    key = "/".join(["k" * 200] * 4)
    for overwrite in (False, True):
        taken: list[int] = []
        with pytest.raises(InvalidKey, match="is too long for the file system of"):
            await storage.put(key, stream(100, counted=taken), overwrite=overwrite)
        assert taken == []
    assert await storage.stat(key) is None
    assert await storage.read(key) is None
    await storage.delete(key)
    assert [stored async for stored in storage.list()] == []
    assert list(deep.iterdir()) == []


async def test_a_directory_in_the_way_is_told_before_reading(tmp_path: Path) -> None:
    """23. Where a directory has the name nothing is read that could never be stored."""
    storage = FileStorage(tmp_path)
    await storage.put("a/b", b"x")
    for overwrite in (False, True):
        taken: list[int] = []
        with pytest.raises(StorageError, match="other keys start with this one and a slash"):
            await storage.put("a", stream(100, counted=taken), overwrite=overwrite)
        assert taken == []


@pytest.mark.parametrize("by_kernel", [True, False])
async def test_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_kernel: bool) -> None:
    """16. The kernel puts files together, or reading does where it cannot; create-only, and apart."""
    if not by_kernel:
        monkeypatch.setattr(Draft, "_copied", lambda self, fd, offset, count: 0)
    storage = FileStorage(tmp_path)
    await storage.put("one", stream(3 * MiB + 1))
    await storage.put("two", b"")
    await storage.put("three", b"end")
    whole = (await storage.read("one") or b"") + b"end"
    stored = await storage.compose("whole", ["one", "two", "three"])
    assert stored == await storage.stat("whole")
    assert await storage.read("whole") == whole
    with pytest.raises(ObjectExists):
        await storage.copy("three", "whole")
    with pytest.raises(ObjectMissing):
        await storage.compose("another", ["three", "none"])
    await storage.copy("three", "whole", overwrite=True)
    await storage.put("three", b"changed", overwrite=True)
    assert await storage.read("whole") == b"end"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two", "whole"]
    assert {path.stat().st_nlink for path in tmp_path.iterdir()} == {1}


async def test_a_cancelled_compose(tmp_path: Path) -> None:
    """4. Wherever it is cancelled, there is all of the object or none, and no temporary or open file."""
    storage = FileStorage(tmp_path)
    await storage.put("one", stream(2 * MiB))
    open_files = len(os.listdir("/proc/self/fd"))

    async def whole_or_nothing(number: int) -> None:
        names = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
        assert names.pop("one") == 2 * MiB
        assert names in ({}, {"two": 4 * MiB}), f"await number {number}"
        assert len(os.listdir("/proc/self/fd")) == open_files
        await storage.delete("two")

    await cancel_everywhere(lambda: storage.compose("two", ["one", "one"]), whole_or_nothing)
    assert await storage.stat("two") is not None
