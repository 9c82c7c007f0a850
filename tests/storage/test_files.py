"""StorageFiles under ASGI and under WSGI: who may see what, under which name, from where."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from scalekit.errors import BackendUnavailable, ConfigurationError
from scalekit.storage import FileStorage, MemoryStorage, Opened, SignedURL, Storage, Stored
from scalekit.storage.s3 import S3Storage
from scalekit.storage.serve import StorageFiles
from scalekit.storage.wsgi import StorageFiles as WSGIStorageFiles
from scalekit.testing import FaultyStorage
from tests.storage.helpers import PNG
from tests.storage.shells import SHELLS, ask, asking

pytestmark = pytest.mark.parametrize("shell", SHELLS)

FOREVER = "public, max-age=31536000, immutable"


async def test_every_storage(shell: str, storage: Storage) -> None:
    """22. Ranges 206 and 416, conditions 304 and 412, HEAD, 404, 405: on every storage alike."""
    stored = await storage.put("u/cat photo.png", PNG)
    path = "/u/cat%20photo.png"
    async with asking(shell, storage) as ask_it:
        whole = await ask_it(path)
        assert (whole.status_code, whole.content) == (200, PNG)
        assert whole.headers["content-length"] == str(len(PNG))
        assert (whole.headers["content-type"], whole.headers["etag"]) == ("image/png", f'"{stored.etag}"')
        head = await ask_it(path, method="HEAD")
        assert (head.status_code, head.content, dict(head.headers)) == (200, b"", dict(whole.headers))
        part = await ask_it(path, headers={"range": "bytes=1-3"})
        assert (part.status_code, part.content) == (206, b"PNG")
        assert part.headers["content-range"] == f"bytes 1-3/{len(PNG)}"
        behind = await ask_it(path, headers={"range": f"bytes={len(PNG)}-"})
        assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(PNG)}")
        modified = whole.headers["last-modified"]
        for condition, status in (
            ({"if-none-match": f'"{stored.etag}"'}, 304),
            ({"if-modified-since": modified}, 304),
            ({"if-match": '"other"'}, 412),
            ({"if-unmodified-since": "Sat, 29 Oct 1994 19:43:31 GMT"}, 412),
            ({"range": "bytes=1-3", "if-range": modified}, 206),
            ({"range": "bytes=1-3", "if-range": "Sat, 29 Oct 1994 19:43:31 GMT"}, 200),
        ):
            answer = await ask_it(path, headers=condition)
            assert answer.status_code == status, condition
            if status in (304, 412):
                assert (answer.content, answer.headers["etag"]) == (b"", f'"{stored.etag}"')
        assert (await ask_it("/nothing")).status_code == 404
        posted = await ask_it(path, method="POST")
        assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/", "/..%2f..%2fetc%2fpasswd", "/a%00b", "/.env", "//x", "/%ff", "/a%e2%80%aeb"]
)
async def test_paths_that_are_no_keys(shell: str, path: str) -> None:
    """22. What can be no key is not there."""
    assert (await ask(shell, MemoryStorage(), path)).status_code == 404


@pytest.mark.parametrize(
    ("key", "download", "disposition"),
    [
        ("a.png", False, "inline; filename=\"gr__e.png\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.png"),
        ("a.png", True, "attachment; filename=\"gr__e.png\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.png"),
        ("a.html", False, "attachment; filename=\"gr__e.png\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.png"),
    ],
)
async def test_the_name(shell: str, key: str, download: bool, disposition: str) -> None:
    """22. What is shown or saved has the name that it was stored with; download=True has everything saved."""
    storage = MemoryStorage()
    await storage.put(key, b"x", filename="größe.png")
    await storage.put("b.png", b"x")
    answer = await ask(shell, storage, f"/{key}", download=download)
    assert answer.headers["content-disposition"] == disposition
    nameless = await ask(shell, storage, "/b.png", download=download)
    assert nameless.headers["content-disposition"] == ("attachment" if download else "inline")


@pytest.mark.parametrize("refuse_with", [404, 403])
async def test_private_files(shell: str, refuse_with: Any) -> None:
    """15. Who may not see an object gets nothing of it, whatever they ask; no cache shares it."""
    storage = MemoryStorage()
    etag = (await storage.put("mine.txt", b"mine", filename="my name.txt")).etag
    await storage.put("theirs.txt", b"theirs")

    def mine(stored: Stored) -> bool:
        return stored.key == "mine.txt"

    options: dict[str, Any] = {"authorize": mine, "refuse_with": refuse_with, "cache_control": FOREVER}
    seen = await ask(shell, storage, "/mine.txt", **options)
    assert (seen.status_code, seen.content) == (200, b"mine")
    assert set(seen.headers["cache-control"].split(", ")) == {"max-age=31536000", "immutable", "private"}
    same = await ask(shell, storage, "/mine.txt", headers={"if-none-match": f'"{etag}"'}, **options)
    assert (same.status_code, "private" in same.headers["cache-control"]) == (304, True)
    absent = await ask(shell, storage, "/absent.txt", **options)
    for method in ("GET", "HEAD"):
        for headers in ({}, {"if-none-match": "*"}, {"if-match": '"x"'}, {"range": "bytes=9-"}):
            refused = await ask(shell, storage, "/theirs.txt", method=method, headers=headers, **options)
            assert (refused.status_code, refused.content) == (refuse_with, b"")
            assert dict(refused.headers) == dict(absent.headers)
            assert refused.headers["cache-control"] == "no-store"


async def test_a_hook_that_fails(shell: str) -> None:
    """15. A hook that raises shows nothing."""
    storage = MemoryStorage()
    await storage.put("a.txt", b"x")

    def broken(stored: Stored) -> bool:
        raise LookupError(stored.key)

    with pytest.raises(LookupError):
        await ask(shell, storage, "/a.txt", authorize=broken)


async def test_a_hook_that_waits(shell: str) -> None:
    """15. ASGI waits for a hook's answer; under WSGI, where nobody would, an awaitable is no yes."""
    storage = MemoryStorage()
    await storage.put("a.txt", b"x")

    async def no(stored: Stored) -> bool:
        return False

    if shell == "asgi":
        assert (await ask(shell, storage, "/a.txt", authorize=no)).status_code == 404
    else:
        with pytest.raises(TypeError, match="awaitable"):
            await ask(shell, storage, "/a.txt", authorize=no)
        with pytest.raises(ConfigurationError, match="plain function under WSGI"):
            WSGIStorageFiles(storage, authorize=no)  # type: ignore[arg-type]


async def test_options_that_are_none(shell: str) -> None:
    """A mistake is told at start-up."""
    app: Any = StorageFiles if shell == "asgi" else WSGIStorageFiles
    with pytest.raises(ConfigurationError, match="refuse_with=401; give 404 or 403"):
        app(MemoryStorage(), refuse_with=401)
    with pytest.raises(ConfigurationError, match="authorize= must be a function"):
        app(MemoryStorage(), authorize=True)


class _Replaced(MemoryStorage):
    """The object is replaced between the look and the read; what was opened is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.times, self.open_now = 0, 0

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        if self.times:
            self.times -= 1
            await self.put(key, b"version %d" % self.times, overwrite=True)
        opened = await super().open(key, offset=offset, length=length)
        assert opened is not None
        self.open_now += 1

        async def close() -> None:
            self.open_now -= 1

        opened._close = close
        return opened


async def test_an_object_that_changes_meanwhile(shell: str) -> None:
    """Headers of one version never come with the content of another, and nothing is left open."""
    storage = _Replaced()
    await storage.put("a.txt", b"one")
    storage.times = 2
    answer = await ask(shell, storage, "/a.txt", headers={"range": "bytes=1-"})
    assert (answer.content, answer.headers["content-range"]) == (b"ersion 0", "bytes 1-8/9")
    storage.times = 100
    answer = await ask(shell, storage, "/a.txt", headers={"if-none-match": '"known"'})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert storage.open_now == 0


class _Signing(MemoryStorage):
    """Signs addresses that are valid for a while."""

    def __init__(self, *, seconds: float) -> None:
        super().__init__(base_url=None)
        self.seconds, self.now = seconds, datetime.now(UTC)
        self.names: list[str | None] = []

    async def signed_url(self, key: str, *, filename: str | None = None) -> SignedURL | None:
        self.names.append(filename)
        return SignedURL(
            url=f"https://s3.example/{key}?signature",
            expires=self.now + timedelta(seconds=self.seconds),
        )


@pytest.mark.parametrize(
    ("cache_control", "seconds", "kept"),
    [
        ("no-cache", 3600, "no-store"),
        ("no-store, max-age=60", 3600, "no-store"),
        (FOREVER, 7200.9, "private, max-age=3600"),
        ("max-age=60", 7200, "private, max-age=60"),
        ("public, s-maxage=600", 7200, "no-store"),
        (FOREVER, 1, "no-store"),
        (FOREVER, -5, "no-store"),
    ],
)
async def test_how_long_a_signed_address_is_kept(
    shell: str, cache_control: str, seconds: float, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """22. A redirection is never kept longer than half of the signature's life, nor than the object is."""
    storage = _Signing(seconds=seconds)
    monkeypatch.setattr("scalekit.storage._files.datetime", SimpleNamespace(now=lambda zone: storage.now))
    await storage.put("a.png", PNG, filename="cat.png")
    answer = await ask(shell, storage, "/a.png", redirect=True, cache_control=cache_control)
    assert (answer.status_code, answer.headers["location"]) == (302, "https://s3.example/a.png?signature")
    assert answer.headers["cache-control"] == kept
    assert answer.content == b""


async def test_names_of_signed_addresses(shell: str) -> None:
    """22. What is saved is saved under its name, or its key's; what is shown is not forced to be saved."""
    storage = _Signing(seconds=3600)
    await storage.put("a.png", PNG, filename="cat.png")
    await storage.put("u/evil.html", b"<script>")
    await ask(shell, storage, "/a.png", redirect=True)
    await ask(shell, storage, "/a.png", redirect=True, download=True)
    await ask(shell, storage, "/u/evil.html", redirect=True)
    assert storage.names == [None, "cat.png", "evil.html"]


async def test_what_is_not_redirected(shell: str) -> None:
    """22. HEAD, which a signature for GET does not cover; what is not there; what may not be seen."""
    storage = _Signing(seconds=3600)
    await storage.put("a.png", PNG)
    head = await ask(shell, storage, "/a.png", method="HEAD", redirect=True)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(PNG)))
    assert (await ask(shell, storage, "/b.png", redirect=True)).status_code == 404
    refused = await ask(shell, storage, "/a.png", redirect=True, authorize=lambda stored: False)
    assert (refused.status_code, "location" in refused.headers, storage.names) == (404, False, [])


async def test_redirects_to_a_cdn(shell: str) -> None:
    """22. A CDN's address is permanent and kept like the object; what must be saved is sent from here."""
    storage = MemoryStorage(base_url="https://cdn.example/media")
    for key in ("ä b.png", "evil.html"):
        await storage.put(key, PNG)
    shown = await ask(shell, storage, "/ä b.png", redirect=True, cache_control=FOREVER)
    assert (shown.status_code, shown.headers["cache-control"]) == (302, FOREVER)
    assert shown.headers["location"] == "https://cdn.example/media/%C3%A4%20b.png"
    private = await ask(shell, storage, "/ä b.png", redirect=True, authorize=lambda stored: True)
    assert private.headers["cache-control"] == "no-cache, private"
    saved = await ask(shell, storage, "/evil.html", redirect=True)
    assert (saved.status_code, saved.headers["content-disposition"]) == (200, "attachment")
    local = MemoryStorage(base_url="/media/")
    await local.put("a.png", PNG)
    assert (await ask(shell, local, "/a.png", redirect=True)).status_code == 200


async def test_a_signed_address_of_s3(shell: str, s3_server: Any, bucket: str) -> None:
    """22. The address that S3 signed works there, and has the browser save the file under its name."""
    async with S3Storage(bucket, url_expires=600, **s3_server.client_kwargs) as storage:
        await storage.put("a.html", b"<script>", filename="größe.html")
        answer = await ask(shell, storage, "/a.html", redirect=True, cache_control=FOREVER)
        max_age = int(answer.headers["cache-control"].removeprefix("private, max-age="))
        signed_for = int(parse_qs(urlsplit(answer.headers["location"]).query)["X-Amz-Expires"][0])
        assert 0 < max_age <= signed_for // 2
        async with httpx.AsyncClient(timeout=60) as client:
            saved = await client.get(answer.headers["location"])
    assert (saved.status_code, saved.content) == (200, b"<script>")
    assert saved.headers["content-disposition"].startswith('attachment; filename="gr__e.html"')


async def test_round_trips(shell: str) -> None:
    """22. A plain download is one request to the storage; what has to be looked at first, two at most."""
    storage = FaultyStorage(MemoryStorage())
    etag = (await storage.put("a.txt", b"0123456789")).etag
    await storage.put("empty.txt", b"")
    async with asking(shell, storage) as ask_it:
        for path, method, headers, calls in (
            ("/a.txt", "GET", {}, ["open"]),
            ("/empty.txt", "GET", {}, ["open"]),
            ("/none.txt", "GET", {}, ["open"]),
            ("/..a", "GET", {}, ["open"]),
            ("/a.txt", "HEAD", {}, ["stat"]),
            ("/a.txt", "GET", {"if-none-match": f'"{etag}"'}, ["stat"]),
            ("/a.txt", "GET", {"range": "bytes=20-"}, ["stat"]),
            ("/a.txt", "GET", {"range": "bytes=2-"}, ["stat", "open"]),
        ):
            storage.calls.clear()
            await ask_it(path, method=method, headers=headers)
            assert [call for call, _ in storage.calls] == calls, (path, method, headers)
    storage.calls.clear()
    assert (await ask(shell, storage, "/a.txt", authorize=lambda stored: False)).status_code == 404
    assert [call for call, _ in storage.calls] == ["stat"]  # what may not be seen is not opened


@pytest.mark.parametrize("headers", [{}, {"range": "bytes=1-"}], ids=["plain", "range"])
async def test_a_key_that_this_storage_cannot_have(shell: str, headers: dict[str, str]) -> None:
    """22. A key that is one, but too long or reserved in this storage, is not there."""
    part = MemoryStorage().scoped("x" * 200 + "/" + "y" * 200 + "/")
    path = "/".join(["", "a" * 199, "b" * 199, "c" * 199])
    assert (await ask(shell, part, path, headers=headers)).status_code == 404
    assert (await ask(shell, part, path, method="HEAD")).status_code == 404


async def test_a_date_of_a_file(shell: str, tmp_path: Path) -> None:
    """22. A date that the response told is the one that the next request may name, fractions or not."""
    storage = FileStorage(tmp_path)
    stored = await storage.put("a.txt", b"0123456789")
    told = (await ask(shell, storage, "/a.txt")).headers["last-modified"]
    assert told == format_datetime(stored.modified, usegmt=True)
    assert (await ask(shell, storage, "/a.txt", headers={"if-modified-since": told})).status_code == 304
    assert (await ask(shell, storage, "/a.txt", headers={"if-unmodified-since": told})).status_code == 200


@pytest.mark.parametrize("method", ["stat", "open"])
async def test_a_storage_that_is_away(shell: str, method: str, caplog: pytest.LogCaptureFixture) -> None:
    """22. A storage that cannot be reached is a 503 that nobody keeps; what it was is for the log."""
    storage = FaultyStorage(MemoryStorage())
    await storage.put("a.txt", b"0123456789")
    storage.fail(method, error=BackendUnavailable("no answer of s3.internal", backend="s3"), times=None)
    headers = {"if-none-match": '"another"'}
    answer = await ask(shell, storage, "/a.txt", headers=headers)
    assert (answer.status_code, answer.content) == (503, b"")
    assert (answer.headers["cache-control"], answer.headers["retry-after"]) == ("no-store", "1")
    assert "s3.internal" in caplog.text
