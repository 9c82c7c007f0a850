"""FileStorage: whole files only, whoever crashes, races or cancels."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from scalekit.errors import ConfigurationError, InvalidKey, ObjectExists, StorageError, UploadFailed
from scalekit.storage import FileStorage, MiB, Stored, filesystem
from tests.storage.helpers import cancel_everywhere, chunks, eventually, stream

_WRITER = """
import asyncio, sys
from scalekit.storage import FileStorage
from scalekit.errors import ObjectExists

async def content(letter):
    for _ in range(48):
        yield letter.encode() * 65536

async def main(directory, key, letter, overwrite):
    storage = FileStorage(directory)
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        try:
            await storage.put(key, content(letter), overwrite=overwrite == "yes")
        except ObjectExists:
            print("exists", flush=True)
        else:
            print("stored", flush=True)
        if overwrite == "no":
            return

asyncio.run(main(*sys.argv[1:]))
"""
_SIZE = 48 * 65536


def _writer(directory: Path, key: str, letter: str, *, overwrite: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(directory), key, letter, "yes" if overwrite else "no"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=30)
    return output


async def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """23. While two processes overwrite one key and are killed in the act, each read is one whole version."""
    storage = FileStorage(tmp_path)
    await storage.put("shared.bin", b"0" * _SIZE)
    for _ in range(1):
        writers = [_writer(tmp_path, "shared.bin", letter, overwrite=True) for letter in "ab"]
        try:
            for writer in writers:
                assert writer.stdout is not None
                assert writer.stdin is not None
                assert await asyncio.to_thread(writer.stdout.readline) == "ready\n"
                writer.stdin.write("go\n")
                writer.stdin.flush()
            for turn in range(30):
                content = await storage.read("shared.bin")
                assert content is not None
                assert len(content) == _SIZE
                assert len(set(content)) == 1
                if turn == 15:
                    writers[0].send_signal(signal.SIGKILL)
        finally:
            for writer in writers:
                writer.send_signal(signal.SIGKILL)
                _finish(writer)
    content = await storage.read("shared.bin")
    assert content is not None
    assert len(content) == _SIZE
    assert [stored.key async for stored in storage.list()] == ["shared.bin"]


async def test_two_processes_race_to_create(tmp_path: Path) -> None:
    """16. Of two processes that create one key exactly one wins, and the file is the winner's."""
    for turn in range(3):
        key = f"new-{turn}.bin"
        writers = {letter: _writer(tmp_path, key, letter, overwrite=False) for letter in "abc"}
        for writer in writers.values():
            assert writer.stdout is not None
            assert await asyncio.to_thread(writer.stdout.readline) == "ready\n"
        for writer in writers.values():
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        results = {letter: _finish(writer).strip() for letter, writer in writers.items()}
        winners = [letter for letter, result in results.items() if result == "stored"]
        assert len(winners) == 1, results
        assert await FileStorage(tmp_path).read(key) == winners[0].encode() * _SIZE


async def test_a_killed_writer_leaves_nothing_to_see(tmp_path: Path) -> None:
    """23. kill -9 in the middle of a write: the key does not exist and nothing is listed."""
    storage = FileStorage(tmp_path)
    code = """
import asyncio, sys
from scalekit.storage import FileStorage
async def endless():
    while True:
        yield b"x" * 65536
asyncio.run(FileStorage(sys.argv[1]).put("dir/big.bin", endless()))
"""
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    try:
        await eventually(lambda: sum(path.stat().st_size for path in tmp_path.glob("dir/.*")) > 4 * MiB)
    finally:
        writer.kill()
        writer.wait()
    assert await storage.stat("dir/big.bin") is None
    assert [stored async for stored in storage.list()] == []
    await storage.put("dir/big.bin", b"whole")
    assert await storage.read("dir/big.bin") == b"whole"


async def test_the_order_of_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """23. Flush the file, give it its name, flush the directory; the temporary file is beside it."""
    calls: list[str] = []

    def record(name: str) -> None:
        real = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            if name == "fsync":
                calls.append(f"fsync {os.path.basename(os.readlink(f'/proc/self/fd/{args[0]}'))}")
            else:
                source, target = (Path(str(argument)) for argument in args[:2])
                assert source.parent == target.parent
                calls.append(f"{name} {target.name}")
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "link", "replace"):
        record(name)
    storage = FileStorage(tmp_path / "root")
    await storage.put("a/b.txt", b"one")
    # The directories are new: each is flushed in the one above it before anything is promised.
    assert calls[:2] == [f"fsync {tmp_path.name}", "fsync root"]
    assert calls[2].startswith("fsync .scalekit-")
    assert calls[3:] == ["link b.txt", "fsync a"]
    calls.clear()
    await storage.put("a/b.txt", b"two", overwrite=True)
    assert calls[0].startswith("fsync .scalekit-")
    assert calls[1:] == ["replace b.txt", "fsync a"]


async def test_cancelled_at_every_await(tmp_path: Path) -> None:
    """4. Wherever a write is cancelled, there is no object, or at the end a whole one; no temporary file."""
    storage = FileStorage(tmp_path)
    found = []

    async def whole_or_nothing(number: int) -> None:
        sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
        assert sizes in ([], [5 * MiB // 2]), f"await number {number}"
        found.append(bool(sizes))
        await storage.delete("a/b.bin")

    awaits = await cancel_everywhere(lambda: storage.put("a/b.bin", stream(5 * MiB // 2)), whole_or_nothing)
    assert awaits >= 6
    assert found == sorted(found)
    assert not found[-3]
    assert await storage.stat("a/b.bin") is not None


async def test_a_cancelled_write_takes_nothing_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4. A create-only write that is cancelled while it commits leaves what another has put there since."""
    storage = FileStorage(tmp_path)
    linked, overwritten = threading.Event(), threading.Event()
    real = os.link

    def link(*args: Any) -> None:
        real(*args)
        linked.set()
        overwritten.wait(60)

    monkeypatch.setattr(os, "link", link)
    task = asyncio.create_task(storage.put("a.txt", b"mine"))
    await asyncio.to_thread(linked.wait, 60)
    task.cancel()
    await storage.put("a.txt", b"another's", overwrite=True)
    overwritten.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await storage.read("a.txt") == b"another's"


async def test_a_directory_that_is_not_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """23. An error after the file got its name says that it is stored, for it is."""
    storage = FileStorage(tmp_path)
    await storage.put("seed", b"x")

    def fails(directory: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(filesystem, "sync_directory", fails)
    with pytest.raises(StorageError, match=r"'a.txt' is stored, but .*Input/output error") as caught:
        await storage.put("a.txt", b"x")
    assert not isinstance(caught.value, UploadFailed)
    assert await storage.read("a.txt") == b"x"


async def test_the_mode_is_the_one_asked_for(tmp_path: Path) -> None:
    """A narrow umask does not keep a web server from reading what ``mode`` lets it read."""
    before = os.umask(0o077)
    try:
        await FileStorage(tmp_path).put("a.txt", b"x")
        await FileStorage(tmp_path, mode=0o600).put("b.txt", b"x")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in sorted(tmp_path.iterdir())] == [0o644, 0o600]


async def test_cancelled_overwrites_leave_a_whole_file(tmp_path: Path) -> None:
    """4. A cancelled overwrite leaves the old file or the new one, never a mixture, and no temporary file."""
    storage = FileStorage(tmp_path)
    await storage.put("a.bin", b"old" * 1000)

    async def whole(number: int) -> None:
        assert await storage.read("a.bin") in (b"old" * 1000, b"new" * 1000)
        assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]

    await cancel_everywhere(lambda: storage.put("a.bin", chunks(b"new" * 1000), overwrite=True), whole)


_FULL = """
import asyncio, resource, sys
from scalekit.errors import UploadFailed
from scalekit.storage import FileStorage

async def content():
    for _ in range(32):
        yield b"x" * 65536

async def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    try:
        await FileStorage(sys.argv[1]).put("big.bin", content())
    except UploadFailed as error:
        print(error)

asyncio.run(main())
"""


async def test_a_file_too_large_for_the_file_system(tmp_path: Path) -> None:
    """23. What the file system does not take is an UploadFailed that says so, and leaves nothing behind."""
    result = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = f"cannot store 'big.bin': File too large, in the folder {str(tmp_path)!r}\n"
    assert result.stdout == said, result.stderr
    assert list(tmp_path.iterdir()) == []


async def test_an_os_error_of_the_source_is_the_callers(tmp_path: Path) -> None:
    """6. Only what the disk says becomes an UploadFailed; a source's ConnectionError stays one."""

    async def cut_off():
        yield b"x"
        raise ConnectionResetError("the other side")

    with pytest.raises(ConnectionResetError):
        await FileStorage(tmp_path).put("a", cut_off())
    assert list(tmp_path.iterdir()) == []


async def test_what_is_no_object(tmp_path: Path) -> None:
    """Directories, links, pipes and files whose names are no keys are not objects."""
    storage = FileStorage(tmp_path / "root")
    await storage.put("dir/a.txt", b"a")
    (tmp_path / "secret").write_text("secret")
    (storage.directory / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(storage.directory / "pipe")
    (storage.directory / "trailing ").write_text("x")
    for key in ("dir", "link", "pipe"):
        assert await storage.stat(key) is None
        assert await storage.open(key) is None
    await storage.delete("dir")
    assert [stored.key async for stored in storage.list()] == ["dir/a.txt"]


async def test_what_is_no_object_is_in_the_way_of_one(tmp_path: Path) -> None:
    """16. A link, or a pipe, is no object that exists; it stays, and nothing is read in vain."""
    storage = FileStorage(tmp_path / "root")
    storage.directory.mkdir()
    (storage.directory / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(storage.directory / "pipe")
    taken: list[int] = []
    for key in ("link", "pipe"):
        with pytest.raises(UploadFailed, match="something that is no file has this name"):
            await storage.put(key, stream(100, counted=taken))
    assert taken == []
    assert (storage.directory / "link").is_symlink()
    await storage.put("link", b"new", overwrite=True)
    assert await storage.read("link") == b"new"
    assert not (tmp_path / "elsewhere").exists()


async def test_a_key_cannot_be_another_ones_directory(tmp_path: Path) -> None:
    """On a file system "a" and "a/b" exclude each other; the second is refused and the first stays."""
    storage = FileStorage(tmp_path)
    await storage.put("a", b"file")
    with pytest.raises(UploadFailed, match="beginning of this one"):
        await storage.put("a/b", b"below")
    await storage.put("dir/b", b"file")
    with pytest.raises(UploadFailed, match="start with this one"):
        await storage.put("dir", b"above")
    with pytest.raises(UploadFailed):
        await storage.put("dir", b"above", overwrite=True)
    assert await storage.read("a") == b"file"
    assert await storage.read("dir/b") == b"file"


@pytest.mark.parametrize("base_url", ["media/", "ftp://x/", "/media?x", "/médias/", "/a\r\nx-injected: b/"])
def test_an_address_that_no_header_takes(base_url: str) -> None:
    """22. Redirections go to base_url: what can be no address is an error at start-up, with its cure."""
    with pytest.raises(
        ConfigurationError, match="give a path such as '/media/' or an https:// URL, in ASCII"
    ):
        FileStorage("media", base_url=base_url)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """A storage whose directory is a file is an error at start-up that names it."""
    (tmp_path / "media").write_text("x")
    with pytest.raises(ConfigurationError, match="media' is a file; give the path of a folder"):
        FileStorage(tmp_path / "media")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, when: str) -> None:
    """The folder is made with the first object; why it cannot be is told with its path."""
    wrong = tmp_path / "file"
    folder = wrong / "media" if when == "before" else wrong
    storage = FileStorage(folder)
    wrong.write_text("x")
    with pytest.raises(UploadFailed) as caught:
        await storage.put("a", b"x")
    reason = "Not a directory" if when == "before" else "File exists"
    assert str(caught.value) == f"cannot store 'a': {reason}, in the folder {str(folder)!r}"


async def test_keys_stay_below_the_directory(tmp_path: Path) -> None:
    """14. A key that would leave the directory, or reach a temporary file, is refused."""
    storage = FileStorage(tmp_path / "root")
    (tmp_path / "secret").write_text("secret")
    for key in ("../secret", "a/../../secret", str(tmp_path / "secret"), ".scalekit-0000000000000000.tmp"):
        with pytest.raises(InvalidKey):
            await storage.read(key)
        with pytest.raises(InvalidKey):
            await storage.put(key, b"x", overwrite=True)


async def test_an_existing_object_is_refused_before_reading(tmp_path: Path) -> None:
    """16. A create-only write of a key that exists does not take a byte from its source."""
    storage = FileStorage(tmp_path)
    first = await storage.put("a.png", b"x", content_type="image/png")
    taken: list[int] = []
    with pytest.raises(ObjectExists):
        await storage.put("a.png", stream(100, counted=taken))
    assert taken == []
    assert isinstance(first, Stored)
    assert await storage.stat("a.png") == first


async def test_etags_are_the_files_own(tmp_path: Path) -> None:
    """Two servers that share the directory see one ETag; a rewrite with the same content gets another."""
    first = await FileStorage(tmp_path).put("a.txt", b"same")
    seen = await FileStorage(tmp_path).stat("a.txt")
    assert seen is not None
    assert seen.etag == first.etag
    again = await FileStorage(tmp_path).put("a.txt", b"same", overwrite=True)
    assert again.etag != first.etag
