"""TusUploads: resumable uploads that any server can go on with."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from scalekit.errors import BackendUnavailable, ConfigurationError, StorageFull, UploadFailed
from scalekit.storage import MemoryStorage, Storage, UploadedFile
from scalekit.storage.tus import FinishedUpload, TusUploads
from scalekit.testing import FaultyStorage
from tests.storage.helpers import PNG
from tests.storage.tus_requests import (
    PATCH,
    SECRET,
    TUS,
    Broken,
    Clock,
    client_of,
    create,
    head,
    in_chunks,
    keys,
    metadata,
    offset_of,
    patch,
)


async def test_a_file_in_pieces_over_two_servers(storage: Storage) -> None:
    """20. Pieces sent to two servers in turn become one object with a random key; the pieces are gone."""
    done: list[UploadedFile] = []

    async def on_complete(file: UploadedFile) -> None:
        done.append(file)

    servers = [
        client_of(
            TusUploads(storage, secret_key=SECRET, accept=["image/*"], on_complete=on_complete, prefix="u/")
        )
        for _ in range(2)
    ]
    content = PNG * 20
    url = await create(servers[0], len(content), filename="../cat.png", filetype="image/png")
    offset = 0
    for turn in range(4):
        piece = content[offset : offset + 12_345]
        answer = await patch(servers[turn % 2], url, offset, piece)
        assert answer.status_code == 204
        offset += len(piece)
        assert int(answer.headers["upload-offset"]) == offset
        assert await offset_of(servers[(turn + 1) % 2], url) == offset
    assert offset == len(content)
    [file] = done
    assert (file.filename, file.content_type, file.size) == ("cat.png", "image/png", len(content))
    assert file.key.startswith("u/")
    assert await storage.read(file.key) == content
    assert await keys(storage) == [file.key]
    # A client that lost the last answer asks, and is told that all is there; sending again changes nothing.
    assert await offset_of(servers[0], url) == len(content)
    assert (await patch(servers[0], url, len(content), b"")).status_code == 204
    assert len(done) == 1


async def test_a_broken_connection_keeps_what_arrived() -> None:
    """20. What had arrived when the client went away is kept, and the upload goes on from there."""
    storage = MemoryStorage()
    app = TusUploads(storage, secret_key=SECRET)
    content = PNG * 4
    async with client_of(app) as client:
        url = await create(client, len(content))
        await Broken(content[:5000]).patch(app, url, 0)
        assert await offset_of(client, url) == 5000
        assert (await patch(client, url, 5000, content[5000:])).status_code == 204
    [key] = await keys(storage)
    assert await storage.read(key) == content


async def test_a_long_body_is_stored_while_it_arrives() -> None:
    """20. One PATCH of many pieces: another server tells how far it is before it has ended."""
    storage = MemoryStorage()
    mine, other = (client_of(TusUploads(storage, secret_key=SECRET, piece_size=1000)) for _ in range(2))
    content, seen = PNG * 3, list[int]()
    url = await create(mine, len(content))

    async def body() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(content), 700):
            yield content[start : start + 700]
            seen.append(await offset_of(other, url))

    assert (await patch(mine, url, 0, body())).status_code == 204
    # A chunk is taken when there is room, so what was yielded last is not yet stored.
    assert seen[:5] == [0, 1000, 2000, 2000, 3000]
    [key] = await keys(storage)
    assert await storage.read(key) == content


async def test_a_slow_body_is_stored_by_the_clock() -> None:
    """20. On a slow line a piece is stored before it is full, so that a killed server takes little along."""
    storage = MemoryStorage()
    app = TusUploads(storage, secret_key=SECRET, piece_seconds=10)
    clock = Clock(app)
    async with client_of(app) as client:
        url = await create(client, 10_000)

        async def body() -> AsyncGenerator[bytes, None]:
            for _ in range(4):
                clock.seconds += 6
                yield b"x" * 2000

        await patch(client, url, 0, body())
        stem = [key.rpartition(".p")[2] for key in await keys(storage)]
    assert [int(offset) for offset in stem] == [0, 6000]


async def test_a_client_that_falls_silent() -> None:
    """20. Who sends nothing for stall_seconds is answered, and what was sent is kept."""
    storage = MemoryStorage()
    app = TusUploads(storage, secret_key=SECRET, stall_seconds=0.1)
    async with client_of(app) as client:
        url = await create(client, 100)

        async def body() -> AsyncGenerator[bytes, None]:
            yield b"x" * 20
            await asyncio.Event().wait()

        answer = await patch(client, url, 0, body())
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, "20")


async def test_there_are_never_too_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """9. However long, a file sent at one go fits; who sends crumbs is told to send more at a time."""
    monkeypatch.setattr("scalekit.storage._tus_append.MAX_PIECES", 10)
    storage = MemoryStorage()
    async with client_of(TusUploads(storage, secret_key=SECRET, piece_size=1)) as client:
        url = await create(client, 1000)
        await patch(client, url, 0, in_chunks(*[b"x" * 100] * 9))
        assert len(await keys(storage)) == 5
        for crumb in range(5):
            assert (await patch(client, url, 900 + crumb, b"x")).status_code == 204
        answer = await patch(client, url, 905, b"x")
        assert (answer.status_code, "send larger ones" in answer.text) == (413, True)
        assert await offset_of(client, url) == 905


async def test_creation_with_upload_and_empty_files() -> None:
    """8. The first bytes may come with the creation; a file of no bytes is finished by it."""
    storage = MemoryStorage()
    async with client_of(TusUploads(storage, secret_key=SECRET)) as client:
        answer = await client.post("/", headers=PATCH | {"upload-length": "10"}, content=b"hello")
        assert (answer.status_code, answer.headers["upload-offset"]) == (201, "5")
        assert (await patch(client, answer.headers["location"], 5, b"world")).status_code == 204
        url = await create(client, 0)
        assert await offset_of(client, url) == 0
    contents = [await storage.read(key) for key in await keys(storage)]
    assert sorted(content or b"" for content in contents) == [b"", b"helloworld"]


async def test_a_length_that_is_known_later(storage: Storage) -> None:
    """20. Upload-Defer-Length: the length comes with a later PATCH, once, and is the same on every server."""
    one, two = (client_of(TusUploads(storage, secret_key=SECRET, max_size=100)) for _ in range(2))
    url = await create(one, None)
    assert (await patch(one, url, 0, b"hello")).status_code == 204
    answer = await head(two, url)
    assert answer.headers["upload-defer-length"] == "1"
    assert "upload-length" not in answer.headers
    assert (await patch(two, url, 5, b"", upload_length="101")).status_code == 413
    assert (await patch(two, url, 5, b"", upload_length="4")).status_code == 409
    assert (await patch(two, url, 5, b"x", upload_length="10")).status_code == 204
    assert (await head(one, url)).headers["upload-length"] == "10"
    assert (await patch(one, url, 6, b"x", upload_length="11")).status_code == 409
    assert (await patch(one, url, 6, b"worl", upload_length="10")).status_code == 204
    [key] = [key for key in await keys(storage) if "tus/" not in key]
    assert await storage.read(key) == b"helloxworl"
    # One that ends with nothing more to send.
    url = await create(one, None)
    await patch(one, url, 0, b"hello")
    assert (await patch(two, url, 5, b"", upload_length="5")).status_code == 204
    assert len([key for key in await keys(storage) if "tus/" not in key]) == 2


async def test_what_the_application_is_told() -> None:
    """20. Metadata and user reach on_complete; HEAD gives the metadata back as they came."""
    done: list[FinishedUpload] = []

    async def on_complete(file: FinishedUpload) -> None:
        done.append(file)

    app = TusUploads(
        MemoryStorage(), secret_key=SECRET, on_complete=on_complete, user=lambda scope: "ann", prefix="u/"
    )
    async with client_of(app) as client:
        url = await create(client, 5, filename="a/b.txt", album="7", empty="")
        assert (await head(client, url)).headers["upload-metadata"] == metadata(
            filename="a/b.txt", album="7", empty=""
        )
        await patch(client, url, 0, b"hello")
    [file] = done
    assert (file.user, file.filename, file.content_type) == ("ann", "b.txt", "text/plain")
    assert file.metadata == {"filename": "a/b.txt", "album": "7", "empty": ""}
    assert await app.storage.stat(file.key) is not None
    assert "ann" not in url


async def test_what_is_not_accepted() -> None:
    """13. A web page that calls itself a PNG is refused at its first bytes; in tiny pieces, when complete."""
    storage = MemoryStorage()
    page = b"<html><script>" + b"x" * 3000
    async with client_of(TusUploads(storage, secret_key=SECRET, accept=["image/*"])) as client:
        url = await create(client, len(page), filetype="image/png")
        assert (await patch(client, url, 0, page)).status_code == 415
        assert await keys(storage) == []
        assert (await patch(client, url, 0, page[:3])).status_code == 204
        assert (await patch(client, url, 3, page[3:])).status_code == 415
        assert await keys(storage) == []
        assert (await head(client, url)).status_code == 410


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"upload-length": "-1"}, 400),
        ({"upload-length": "many"}, 400),
        ({"upload-length": "9" * 30}, 400),
        ({"upload-length": "1001"}, 413),
        ({"upload-length": "\u0663"}, 400),
        ({"upload-length": "1, 2"}, 400),
        ({"upload-defer-length": "2"}, 400),
        ({"upload-length": "10", "upload-metadata": "filename not-base64!"}, 400),
        ({"upload-length": "10", "upload-metadata": "a YQ==,a YQ=="}, 400),
        ({"upload-length": "10", "upload-metadata": "a YQ==,,b YQ=="}, 400),
        ({"upload-length": "10", "upload-metadata": "a /w=="}, 400),
        ({"upload-length": "10", "upload-metadata": "a " + "YWFh" * 600}, 400),
        ({"upload-length": "10", "tus-resumable": "0.2.2"}, 412),
        ({"upload-length": "10", "upload-concat": "half"}, 400),
        ({"upload-concat": "final;"}, 400),
        ({"upload-concat": "final;/a /b"}, 400),
        ({"upload-concat": "final;" + "/a " * 101}, 400),
        ({"upload-length": "10", "upload-concat": "final;/a"}, 400),
    ],
)
async def test_refused_creations(headers: dict[str, str], status: int) -> None:
    """11. A creation that cannot be kept is refused with the protocol's status and the cure."""
    sent = [(name, value.encode()) for name, value in (TUS | headers).items()]
    async with client_of(TusUploads(MemoryStorage(), secret_key=SECRET, max_size=1000)) as client:
        answer = await client.post("/", headers=sent)
    assert answer.status_code == status
    assert len(answer.text) > 10


async def test_refused_patches() -> None:
    """11. Wrong offsets, types, tokens and lengths are refused, and nothing is stored for them."""
    storage = MemoryStorage()
    async with client_of(TusUploads(storage, secret_key=SECRET)) as client:
        url = await create(client, 10)
        good = PATCH | {"upload-offset": "0"}
        for headers, content, status in (
            (good | {"upload-offset": "5"}, b"x", 409),
            (good | {"upload-offset": "x"}, b"x", 400),
            (good | {"content-type": "text/plain"}, b"x", 415),
            (good | {"tus-resumable": "2.0.0"}, b"x", 412),
            (good, b"x" * 11, 413),
            (good, in_chunks(b"x" * 10, b"x"), 413),
            (good | {"upload-length": "11"}, b"x", 409),
            (TUS | {"content-type": PATCH["content-type"]}, b"x", 400),
        ):
            assert (await client.patch(url, headers=headers, content=content)).status_code == status
        for token in ("/nothing", url + "x", "/" + url[5:], "/../secret", "/ä" + url[2:], "/a.b.c"):
            assert (await client.patch(token, headers=good, content=b"x")).status_code == 404
        assert (await client.get(url, headers=TUS)).status_code == 405
        another = client_of(TusUploads(storage, secret_key="another secret of 16 bytes"))
        assert (await another.head(url, headers=TUS)).status_code == 404
    assert await keys(storage) == []


async def test_what_the_server_says_of_itself() -> None:
    """OPTIONS names the version, the extensions and the limit, whatever version is asked for."""
    async with client_of(TusUploads(MemoryStorage(), secret_key=SECRET, max_size=1000)) as client:
        answer = await client.request("OPTIONS", "/")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
    assert answer.headers["tus-extension"].split(",") == [
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "termination",
        "checksum",
        "expiration",
        "concatenation",
    ]
    assert answer.headers["tus-checksum-algorithm"] == "crc32,md5,sha1,sha256"
    assert answer.headers["tus-max-size"] == "1000"


async def test_keys_can_be_rotated() -> None:
    """An upload that began under the old key goes on while that key is still in the ring."""
    storage = MemoryStorage()
    async with client_of(TusUploads(storage, secret_key=SECRET)) as client:
        url = await create(client, 1)
    async with client_of(TusUploads(storage, secret_key=[SECRET, "the next secret, longer"])) as client:
        assert await offset_of(client, url) == 0
    with pytest.raises(ConfigurationError):
        TusUploads(storage, secret_key="short")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageFull("no room in the folder '/srv/media'"), 507),
        (UploadFailed("no answer of '/srv/media'"), 503),
        (BackendUnavailable("no answer of '/srv/media'", backend="s3"), 503),
    ],
    ids=["full", "failed", "away"],
)
async def test_a_storage_that_fails(caplog: pytest.LogCaptureFixture, error: Exception, status: int) -> None:
    """20. A full disk is a 507, a storage that fails a 503; what it was is for the log. Then it goes on."""
    storage = FaultyStorage(MemoryStorage())
    app = TusUploads(storage, secret_key=SECRET)
    async with client_of(app) as client:
        url = await create(client, len(PNG))
        storage.fail("put", error=error)
        answer = await patch(client, url, 0, PNG)
        assert (answer.status_code, "srv" in answer.text, "srv" in caplog.text) == (status, False, True)
        assert answer.headers["tus-resumable"] == "1.0.0"
        storage.fail("list", error=error)
        assert (await head(client, url)).status_code == status
        assert await offset_of(client, url) == 0
        assert (await patch(client, url, 0, PNG)).status_code == 204
    [key] = await keys(storage)
    assert await storage.read(key) == PNG
