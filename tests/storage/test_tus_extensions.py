"""TusUploads: checksums, termination, concatenation, expiration, users, and pages of other origins."""

import zlib
from base64 import b64encode
from collections.abc import AsyncGenerator
from hashlib import md5, sha1, sha256
from typing import Any

import pytest

from scalekit.errors import ConfigurationError, UploadRejected
from scalekit.storage import MemoryStorage, Storage
from scalekit.storage.tus import FinishedUpload, TusUploads
from scalekit.types import Scope
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
    keys,
    offset_of,
    patch,
)

CONTENT = b"hello world" * 300
DIGESTS = {
    "crc32": zlib.crc32(CONTENT).to_bytes(4, "big"),
    "md5": md5(CONTENT).digest(),
    "sha1": sha1(CONTENT).digest(),
    "sha256": sha256(CONTENT).digest(),
}


@pytest.mark.parametrize("algorithm", DIGESTS)
async def test_a_body_with_a_checksum(storage: Storage, algorithm: str) -> None:
    """17. The right checksum passes; a wrong one is a 460 and leaves nothing of the body."""
    digest = DIGESTS[algorithm]
    right = f"{algorithm} {b64encode(digest).decode()}"
    wrong = f"{algorithm} {b64encode(bytes(len(digest))).decode()}"
    async with client_of(TusUploads(storage, secret_key=SECRET, piece_size=100)) as client:
        url = await create(client, len(CONTENT))
        answer = await patch(client, url, 0, CONTENT, upload_checksum=wrong)
        assert answer.status_code == 460
        assert "send it again" in answer.text
        assert await offset_of(client, url) == 0
        assert await keys(storage) == []
        assert (await patch(client, url, 0, CONTENT, upload_checksum=right)).status_code == 204
    [key] = await keys(storage)
    assert await storage.read(key) == CONTENT


@pytest.mark.parametrize("value", ["sha512 YQ==", "sha1 YQ==", "sha1 %%", "sha1", "", "SHA1 " + "A" * 28])
async def test_a_checksum_that_is_none(value: str) -> None:
    """17. An algorithm that is not offered, or no checksum of it, is a 400 that names what is offered."""
    async with client_of(TusUploads(MemoryStorage(), secret_key=SECRET)) as client:
        url = await create(client, 5)
        assert (await patch(client, url, 0, b"hello", upload_checksum=value)).status_code == 400
        assert await offset_of(client, url) == 0


async def test_a_checksum_of_what_did_not_arrive() -> None:
    """17. A body with a checksum that breaks off, or has nothing in it, is not kept."""
    storage = MemoryStorage()
    app = TusUploads(storage, secret_key=SECRET, piece_size=10)
    value = f"sha1 {b64encode(DIGESTS['sha1']).decode()}"
    async with client_of(app) as client:
        url = await create(client, len(CONTENT))
        assert await Broken(CONTENT[:1000]).patch(app, url, 0, upload_checksum=value) == 400
        assert (await patch(client, url, 0, b"", upload_checksum=value)).status_code == 460
        assert await offset_of(client, url) == 0
        nothing = f"sha1 {b64encode(sha1().digest()).decode()}"
        assert (await patch(client, url, 0, b"", upload_checksum=nothing)).status_code == 204
    assert await keys(storage) == []


async def test_an_upload_is_given_up(storage: Storage) -> None:
    """20. DELETE removes all of it; from then on it is gone on every server, to every method."""
    one, two = (client_of(TusUploads(storage, secret_key=SECRET)) for _ in range(2))
    url = await create(one, 100)
    await patch(one, url, 0, b"x" * 50)
    assert len(await keys(storage)) == 1
    assert (await two.delete(url, headers=TUS)).status_code == 204
    assert await keys(storage) == []
    assert (await head(one, url)).status_code == 410
    assert (await patch(one, url, 50, b"x" * 50)).status_code == 410
    assert (await one.delete(url, headers=TUS)).status_code == 410


async def test_a_finished_file_is_taken_back() -> None:
    """20. A finished file is removed if the application can be told, and agrees; else its address goes."""
    told: list[str] = []

    async def on_terminate(file: FinishedUpload) -> None:
        told.append(file.key)
        if file.metadata.get("keep"):
            raise UploadRejected("it is in a book already")

    storage = MemoryStorage()
    async with client_of(TusUploads(storage, secret_key=SECRET)) as client:
        url = await create(client, 5)
        await patch(client, url, 0, b"hello")
        [kept] = await keys(storage)
        assert (await client.delete(url, headers=TUS)).status_code == 204
        assert (await head(client, url)).status_code == 410
        assert await keys(storage) == [kept]
        await storage.delete(kept)
    async with client_of(TusUploads(storage, secret_key=SECRET, on_terminate=on_terminate)) as client:
        for pairs, status, left in (({}, 204, 0), ({"keep": "yes"}, 400, 1)):
            url = await create(client, 5, **pairs)
            await patch(client, url, 0, b"hello")
            assert (await client.delete(url, headers=TUS)).status_code == status
            assert len(await keys(storage)) == left
    assert len(told) == 2


async def test_partial_uploads_become_one(storage: Storage) -> None:
    """20. Partial uploads, sent to several servers, become one file in the order named, and go."""
    done: list[FinishedUpload] = []

    async def on_complete(file: FinishedUpload) -> None:
        done.append(file)

    servers = [
        client_of(TusUploads(storage, secret_key=SECRET, accept=["image/png"], on_complete=on_complete))
        for _ in range(2)
    ]
    content = PNG * 2
    half = len(content) // 2 + 100
    parts = [content[:half], content[half:]]
    urls = []
    for part, server in zip(parts, servers, strict=True):
        urls.append(await create(server, len(part), concat="partial"))
        assert (await head(server, urls[-1])).headers["upload-concat"] == "partial"
    named = TUS | {
        "upload-concat": f"final;http://test{urls[0]} {urls[1]}",
        "upload-metadata": "filename YQ==",
    }
    await patch(servers[1], urls[0], 0, parts[0])
    answer = await servers[0].post("/", headers=named)
    assert (answer.status_code, "finish it first" in answer.text) == (409, True)
    await patch(servers[0], urls[1], 0, parts[1])
    assert done == []
    answers = [await server.post("/", headers=named) for server in servers]
    # Whoever lost the answer asks again, and gets the same upload.
    assert {answer.status_code for answer in answers} == {201}
    assert answers[0].headers["location"] == answers[1].headers["location"]
    [file] = done
    assert (file.filename, file.size, file.content_type) == ("a", len(content), "image/png")
    assert await storage.read(file.key) == content
    assert await keys(storage) == [file.key]
    final = answers[0].headers["location"]
    told = await head(servers[1], final)
    assert (told.headers["upload-offset"], told.headers["upload-length"]) == (str(len(content)),) * 2
    assert told.headers["upload-concat"] == named["upload-concat"]
    assert (await patch(servers[0], final, len(content), b"")).status_code == 403
    for url in urls:
        assert (await head(servers[0], url)).status_code == 410


async def test_what_cannot_be_put_together() -> None:
    """20. A whole that is not accepted, a whole as a part, another user's part, one that was given up."""
    storage, user = MemoryStorage(), ["ann"]
    app = TusUploads(storage, secret_key=SECRET, accept=["image/png"], user=lambda scope: user[0])
    async with client_of(app) as client:

        async def final(*urls: str) -> int:
            answer = await client.post("/", headers=TUS | {"upload-concat": f"final;{' '.join(urls)}"})
            return answer.status_code

        page = await create(client, 6, concat="partial")
        await patch(client, page, 0, b"<html>")
        assert await final(page) == 415
        assert await keys(storage) == []
        mine, whole = await create(client, 0, concat="partial"), await create(client, 10)
        assert await final(mine, whole) == 400
        user[0] = "bob"
        assert await final(mine) == 400
        user[0] = "ann"
        await client.delete(mine, headers=TUS)
        assert await final(mine) == 410


async def test_expired() -> None:
    """20. An upload that was not finished in time is gone; a finished one stays."""
    storage = MemoryStorage()
    app = TusUploads(storage, secret_key=SECRET, expires=60, piece_size=1)
    clock = Clock(app)
    async with client_of(app) as client:
        late, done = await create(client, 10), await create(client, 1)
        part = await create(client, 1, concat="partial")
        assert (await patch(client, done, 0, b"x")).status_code == 204
        answer = await patch(client, late, 0, b"x")
        assert answer.headers["upload-expires"].endswith(" GMT")

        async def slowly() -> AsyncGenerator[bytes, None]:
            yield b"y"
            clock.seconds += 120
            yield b"y" * 8

        assert (await patch(client, late, 1, slowly())).status_code == 410
        assert (await head(client, late)).status_code == 410
        assert (await patch(client, late, 1, b"x")).status_code == 410
        assert (await client.delete(late, headers=TUS)).status_code == 410
        assert (await client.post("/", headers=TUS | {"upload-concat": f"final;{part}"})).status_code == 410
        assert (await head(client, done)).status_code == 200


async def test_an_upload_is_of_one_user() -> None:
    """15. An address works for the user who began the upload, and is unknown to others."""
    users = {b"ann": "ann", b"bob": "bob"}

    def user(scope: Scope) -> str | None:
        return users.get(dict(scope["headers"]).get(b"x-user", b""))

    async with client_of(TusUploads(MemoryStorage(), secret_key=SECRET, user=user)) as client:
        assert (await client.post("/", headers=TUS | {"upload-length": "5"})).status_code == 403
        client.headers["x-user"] = "ann"
        url = await create(client, 5)
        client.headers["x-user"] = "bob"
        for method in ("HEAD", "PATCH", "DELETE"):
            answer = await client.request(method, url, headers=PATCH | {"upload-offset": "0"})
            assert answer.status_code == 404
        client.headers["x-user"] = "ann"
        assert (await patch(client, url, 0, b"hello")).status_code == 204
        async with client_of(TusUploads(MemoryStorage(), secret_key=SECRET)) as open_to_all:
            assert (await head(open_to_all, url)).status_code == 404


async def test_pages_of_other_origins() -> None:
    """20. An origin that was named may upload and read what it has to; others are told nothing."""
    shop = "https://shop.example"
    wanted = "content-type,tus-resumable,upload-offset,x-csrf-token"
    app = TusUploads(MemoryStorage(), secret_key=SECRET, cors_origins=[shop])
    async with client_of(app) as client:
        asked = {"origin": shop, "access-control-request-method": "PATCH"}
        answer = await client.options("/x", headers=asked | {"access-control-request-headers": wanted})
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == shop
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-allow-headers"] == wanted
        assert {"PATCH", "HEAD", "DELETE"} < set(answer.headers["access-control-allow-methods"].split(", "))
        bad = await client.options("/x", headers=asked | {"access-control-request-headers": "a\tb; c"})
        assert "access-control-allow-headers" not in bad.headers
        client.headers["origin"] = shop
        url = await create(client, 5)
        for answer in (await patch(client, url, 0, b"x"), await patch(client, url, 0, b"x")):
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"Location", "Upload-Offset", "Upload-Length", "Tus-Resumable"} < set(exposed)
            assert answer.headers["vary"] == "Origin"
        client.headers["origin"] = "https://evil.example"
        answer = await head(client, url)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["vary"] == "Origin"
    async with client_of(TusUploads(MemoryStorage(), secret_key=SECRET, cors_origins=["*"])) as client:
        answer = await client.options("/", headers={"origin": "https://any.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


async def test_methods_that_a_proxy_lets_through() -> None:
    """20. X-HTTP-Method-Override is the method, for clients and proxies that know GET and POST only."""
    storage = MemoryStorage()
    async with client_of(TusUploads(storage, secret_key=SECRET)) as client:
        url = await create(client, 5)
        headers = PATCH | {"upload-offset": "0", "x-http-method-override": "PATCH"}
        assert (await client.post(url, headers=headers, content=b"hello")).status_code == 204
    assert len(await keys(storage)) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"max_size": 0},
        {"piece_size": 0},
        {"expires": 0},
        {"stall_seconds": 0},
        {"piece_seconds": "10"},
        {"cors_origins": "https://shop.example"},
        {"cors_origins": ["shop.example"]},
        {"cors_origins": ["https://shop.example/"]},
        {"cors_origins": ["https://Shop.example"]},
    ],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    """20. A mistake in an option is told at start-up."""
    with pytest.raises(ConfigurationError):
        TusUploads(MemoryStorage(), secret_key=SECRET, **options)
