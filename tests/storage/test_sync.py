"""SyncStorage: the same storages for synchronous code."""

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from scalekit.errors import FileTooLarge, MalformedUpload, ObjectExists, UnsupportedMediaType
from scalekit.storage import FileStorage, MemoryStorage, MiB
from scalekit.storage.s3 import S3Storage
from scalekit.storage.sync import SyncStorage
from tests.storage.forms import BOUNDARY, form, part
from tests.storage.helpers import PNG


@pytest.fixture(params=["memory", "file", "s3"])
def sync_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SyncStorage]:
    if request.param == "memory":
        storage = MemoryStorage().sync()
    elif request.param == "file":
        storage = FileStorage(tmp_path).sync()
    else:
        options = request.getfixturevalue("s3_server").client_kwargs
        storage = S3Storage(request.getfixturevalue("bucket"), **options).sync()
    with storage:
        yield storage


def test_everything(sync_storage: SyncStorage) -> None:
    """Storing from bytes, a generator and a file; reading, ranges, listing, addresses, deleting."""
    storage = sync_storage
    assert storage.stat("a.txt") is None
    assert storage.open("a.txt") is None
    assert storage.read("a.txt") is None
    stored = storage.put("a.txt", b"hello")
    assert storage.stat("a.txt").etag == stored.etag  # type: ignore[union-attr]
    file = io.BytesIO(b"0123456789" * 1_000_000)
    storage.put("b/big.bin", iter(partial(file.read, 100_000), b""), content_type="application/octet-stream")
    with pytest.raises(ObjectExists):
        storage.put("a.txt", (chunk for chunk in (b"other", b"")))
    storage.put("a.txt", [b"hel", b"lo again"], overwrite=True)
    with storage.open("b/big.bin", offset=5, length=10) as opened:  # type: ignore[union-attr]
        assert opened.stored.size == 10_000_000
        assert b"".join(opened) == b"5678901234"
    with storage.open("a.txt") as opened:  # type: ignore[union-attr]
        assert opened.read() == b"hello again"
    assert [entry.key for entry in storage.list()] == ["a.txt", "b/big.bin"]
    assert [entry.key for entry in storage.list("b/")] == ["b/big.bin"]
    next(storage.list())  # a listing may be left in the middle
    assert "a.txt" in storage.url("a.txt")
    storage.delete("a.txt")
    storage.delete("a.txt")
    assert storage.read("a.txt") is None


def test_a_source_that_fails(sync_storage: SyncStorage) -> None:
    """6. The error of a generator reaches the caller, and nothing is stored."""

    def broken() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise LookupError("the source")

    with pytest.raises(LookupError, match="the source"):
        sync_storage.put("a.txt", broken())
    assert sync_storage.read("a.txt") is None


@pytest.mark.parametrize("wrong", [None, "text", 3, [b"x"]])
def test_chunks_that_are_no_bytes(sync_storage: SyncStorage, wrong: Any) -> None:
    """An iterable that yields something else is a TypeError, not the end of the object."""
    with pytest.raises(TypeError, match=f"a source yields bytes, not {type(wrong).__name__}"):
        sync_storage.put("a.txt", [b"abc", wrong, b"def"])
    assert sync_storage.read("a.txt") is None


def test_files_are_read_in_blocks(sync_storage: SyncStorage, tmp_path: Path) -> None:
    """2. An open file is a source, and a film without a line feed does not come as one line."""

    class Film(io.BytesIO):
        blocks: list[int]

        def __next__(self) -> bytes:
            raise AssertionError("iterated by lines")

        def read(self, size: int | None = -1) -> bytes:
            self.blocks.append(size or -1)
            return super().read(size)

    film = Film(bytes(MiB))
    film.blocks = []
    assert sync_storage.put("film.mp4", film).size == MiB
    assert 0 < min(film.blocks) <= max(film.blocks) <= 64 * 1024
    (tmp_path / "text").write_text("ä")
    with pytest.raises(TypeError, match="a source yields bytes, not str"), open(tmp_path / "text") as text:
        sync_storage.put("text.txt", text)  # type: ignore[arg-type]
    assert sync_storage.stat("text.txt") is None


def test_iterables_are_read_by_their_caller(sync_storage: SyncStorage) -> None:
    """A generator runs in the thread that brought it, where its thread-locals and context are."""
    threads = []

    def generate() -> Iterator[bytes]:
        for _ in range(3):
            threads.append(threading.current_thread())
            yield b"x"

    sync_storage.put("a.txt", generate())
    assert set(threads) == {threading.current_thread()}


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_call(sync_storage: SyncStorage, interruption: type[BaseException]) -> None:
    """Control-C in the middle of a call ends it; nothing is stored, and the storage goes on."""

    def generate() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise interruption

    with pytest.raises(interruption):
        sync_storage.put("a.txt", generate())
    assert sync_storage.put("b.txt", b"x").size == 1
    assert sync_storage.read("a.txt") is None


def test_copies_in_many_threads(sync_storage: SyncStorage) -> None:
    """More threads than the loop has workers copy objects within one storage, reading what they write."""
    content = bytes(300_000)
    sync_storage.put("a.bin", content)
    start = threading.Barrier(60)

    def copy(number: int) -> None:
        start.wait()
        with sync_storage.open("a.bin") as opened:  # type: ignore[union-attr]
            sync_storage.put(f"{number}.bin", opened)

    threads = [threading.Thread(target=copy, args=(number,), daemon=True) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [entry.size for entry in sync_storage.list()] == [len(content)] * 61


def test_many_threads(sync_storage: SyncStorage) -> None:
    """16. Threads share one storage; of those that create one key, one wins."""
    results: list[str] = []

    def work(number: int) -> None:
        sync_storage.put(f"{number}.txt", b"%d" % number)
        try:
            sync_storage.put("shared.txt", b"%d" % number)
        except ObjectExists:
            results.append("exists")
        else:
            results.append("stored")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["exists"] * 7 + ["stored"]
    assert len(list(sync_storage.list())) == 9


def environ(body: bytes, **changed: str) -> dict[str, Any]:
    result: dict[str, Any] = {"wsgi.input": io.BytesIO(body)}
    setup_testing_defaults(result)
    result |= {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body))}
    return result | {"CONTENT_TYPE": f"multipart/form-data; boundary={BOUNDARY}"} | changed


def test_forms_of_wsgi(sync_storage: SyncStorage) -> None:
    """A form in a WSGI request is streamed like any other, with the same limits and the same clean-up."""
    body = form(part("title", "Cat"), part("photo", PNG + bytes(9 * MiB), filename="cat.png"))
    with sync_storage.form(environ(body), accept=["image/*"]) as found:
        assert found.fields["title"] == "Cat"
        key = found.files["photo"].key
    stored = sync_storage.stat(key)
    assert stored is not None
    assert stored.size == len(PNG) + 9 * MiB

    def handle(given: dict[str, Any], **options: Any) -> None:
        with sync_storage.form(given, **options):
            raise LookupError

    with pytest.raises(LookupError):
        handle(environ(body))
    with pytest.raises(FileTooLarge):
        handle(environ(body), max_file_size=MiB)
    with pytest.raises(UnsupportedMediaType):
        handle(environ(body), accept=["text/plain"])
    with pytest.raises(MalformedUpload, match="ended after"):
        handle(environ(body, CONTENT_LENGTH=str(len(body) + 1)))
    for length in ("many", "-1", "9" * 5000):
        with pytest.raises(MalformedUpload, match="is no length"):
            handle(environ(body, CONTENT_LENGTH=length))
    assert [entry.key for entry in sync_storage.list()] == [key]


def test_slow_clients(sync_storage: SyncStorage) -> None:
    """Clients whose bodies do not arrive hold up nobody else, however many they are."""
    arrive = threading.Event()
    waiting = threading.Semaphore(0)

    class Body:
        def read(self, size: int) -> bytes:
            waiting.release()
            arrive.wait()
            return b""

    def upload() -> None:
        with pytest.raises(MalformedUpload), sync_storage.form(environ(b"") | {"CONTENT_LENGTH": "9"} | slow):
            pass

    slow = {"wsgi.input": Body()}
    threads = [threading.Thread(target=upload, daemon=True) for _ in range(60)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert waiting.acquire(timeout=60)
    sync_storage.put("a.txt", b"x")
    assert sync_storage.read("a.txt") == b"x"
    arrive.set()
    for thread in threads:
        thread.join(60)


def test_chunked_wsgi_requests() -> None:
    """Without a Content-Length the body is read to its end, if the server says that it has one."""
    with MemoryStorage().sync() as storage:
        body = form(part("title", "Cat"))
        given = environ(body, CONTENT_LENGTH="")
        with pytest.raises(MalformedUpload), storage.form(given):
            pass
        given = environ(body, CONTENT_LENGTH="") | {"wsgi.input_terminated": True}
        with storage.form(given) as found:
            assert found.fields["title"] == "Cat"


def test_a_forked_process() -> None:
    """A storage that was used before a fork works in the child, with a loop of its own."""
    with MemoryStorage().sync() as storage:
        storage.put("a.txt", b"before")
        pid = os.fork()
        if pid == 0:  # pragma: no cover - the child
            os._exit(0 if storage.read("a.txt") == b"before" else 1)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert storage.read("a.txt") == b"before"


_PROGRAM = """
import os, sys
from scalekit.storage import FileStorage
files = FileStorage(sys.argv[1]).sync()
files.put("a.txt", b"before")
if sys.argv[2] == "forks":
    if pid := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    files.put("b.txt", b"after")
listing = files.list()
next(listing)
opened = files.open("a.txt")
print(len(os.listdir(sys.argv[1])), flush=True)
"""


@pytest.mark.parametrize(("how", "objects"), [("ends", "1"), ("forks", "2")])
def test_a_program_that_never_closes(tmp_path: Path, how: str, objects: str) -> None:
    """A program, or a forked worker of it, that used a storage and ends is not kept from ending."""
    ended = subprocess.run(
        # Newer Pythons warn of every fork beside a thread; that it works is what is tested.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _PROGRAM, str(tmp_path), how],
        capture_output=True, timeout=60, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, objects, "")


def test_closed_and_used_again() -> None:
    """close() ends the thread; the next call starts another. Closing twice is closing once."""
    storage = MemoryStorage().sync()
    storage.close()
    storage.put("a.txt", b"x")
    storage.close()
    storage.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "scalekit-storage"]
    assert storage.read("a.txt") == b"x"
    storage.close()
