"""19. Uploads in parts that the browser sends to S3 itself: what is granted works, nothing else does."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from scalekit.errors import ConfigurationError, UploadRejected
from scalekit.storage import MemoryStorage, MiB
from scalekit.storage._direct_grant import part_size_for
from scalekit.storage.direct import DirectUpload, DirectUploads, cors_rule
from scalekit.storage.s3 import S3Storage
from scalekit.storage.sweep import sweep
from tests.servers.ports import free_port
from tests.storage.helpers import PNG, cancel_everywhere, on_each_s3, on_strict_s3
from tests.storage.stand_in import S3StandIn


class ServerDied(Exception):
    """Stands for a process that is no more."""


SECRET = "a secret of at least 16 bytes"
PART = 5 * MiB


@dataclass
class Page:
    """What a page does with an application."""

    app: DirectUploads
    user: str = "ann"
    s3: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=60))

    async def ask(self, method: str, path: str = "", content: Any = None) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        sent = {"x-user": self.user, "content-type": "application/json"}
        async with httpx.AsyncClient(transport=transport, base_url="http://shop", headers=sent) as client:
            return await client.request(method, f"/{path}", content=json.dumps(content))

    async def begin(self, size: int, kind: str = "image/png", name: str = "cat.png") -> dict[str, Any]:
        answer = await self.ask("POST", content={"size": size, "type": kind, "name": name})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def send(self, part: dict[str, Any], content: bytes) -> httpx.Response:
        return await self.s3.put(part["url"], content=content)

    async def send_all(self, begun: dict[str, Any], content: bytes) -> list[str]:
        """Each part once, in any order; their ETags."""
        size = begun["part_size"]
        answers = await asyncio.gather(
            *(
                self.send(part, content[(part["number"] - 1) * size :][: part["size"]])
                for part in begun["urls"]
            )
        )
        assert {answer.status_code for answer in answers} == {200}
        return [answer.headers["etag"] for answer in answers]

    async def complete(self, begun: dict[str, Any], etags: list[str]) -> httpx.Response:
        return await self.ask("POST", f"{begun['token']}/complete", {"etags": etags})

    async def upload(self, content: bytes, kind: str = "image/png") -> httpx.Response:
        begun = await self.begin(len(content), kind)
        return await self.complete(begun, await self.send_all(begun, content))

    async def close(self) -> None:
        await self.s3.aclose()


def who(scope: Any) -> str | None:
    return dict(scope["headers"])[b"x-user"].decode() or None


@pytest.fixture
async def told() -> list[DirectUpload]:
    """What the application was told of."""
    return []


@pytest.fixture
async def page(s3_storage: S3Storage, told: list[DirectUpload]) -> AsyncGenerator[Page, None]:
    async def remember(file: DirectUpload) -> None:
        told.append(file)

    app = DirectUploads(
        s3_storage, secret_key=SECRET, accept=["image/*"], part_size=PART, on_complete=remember, user=who
    )
    page = Page(app)
    yield page
    await page.close()


async def left(client: Any, bucket: str) -> tuple[list[str], list[str]]:
    """The objects and unfinished uploads of a bucket."""
    objects = (await client.list_objects_v2(Bucket=bucket)).get("Contents", [])
    uploads = (await client.list_multipart_uploads(Bucket=bucket)).get("Uploads", [])
    return [entry["Key"] for entry in objects], [entry["Key"] for entry in uploads]


@on_each_s3
async def test_a_large_file(page: Page, told: list[DirectUpload], s3_client: Any, bucket: str) -> None:
    """8. Parts and a last one of one byte arrive byte for byte, and the application is told who sent what."""
    content = PNG.ljust(2 * PART + 1, b"x")
    begun = await page.begin(len(content), name="../my\u202e cat.png")
    assert (begun["parts"], begun["part_size"]) == (3, PART)
    assert [part["size"] for part in begun["urls"]] == [PART, PART, 1]
    answer = await page.complete(begun, await page.send_all(begun, content))
    assert answer.status_code == 200
    (file,) = told
    assert (file.size, file.content_type, file.filename) == (len(content), "image/png", "my cat.png")
    assert file.user == "ann"
    assert answer.json() == {
        "key": file.key, "url": file.url, "size": file.size,
        "content_type": "image/png", "filename": "my cat.png",
    }  # fmt: skip
    stored = await page.app.storage.stat(file.key)
    assert stored is not None
    assert (stored.content_type, stored.filename) == ("image/png", "my cat.png")
    assert await page.app.storage.read(file.key) == content
    assert await left(s3_client, bucket) == ([f"photos/{file.key}"], [])


@on_strict_s3
async def test_parts_that_were_not_granted(page: Page, s3_client: Any, bucket: str) -> None:
    """19. Larger, smaller, another number, upload or key, another signature: S3 refuses each."""
    begun, other = await page.begin(PART + 10), await page.begin(PART + 10)
    part = begun["urls"][1]
    for content in (b"x" * 11, b"x" * 9, b""):
        assert (await page.send(part, content)).status_code == 403, len(content)
    for old, new in (
        ("partNumber=2", "partNumber=3"),
        (begun["key"], other["key"]),
        ("X-Amz-Expires=3600", "X-Amz-Expires=9999"),
        ("X-Amz-Signature=", "X-Amz-Signature=0"),
    ):
        assert old in part["url"]
        assert (await page.s3.put(part["url"].replace(old, new), content=b"x" * 10)).status_code == 403, old
    for token in (begun["token"], other["token"]):
        assert (await page.ask("GET", token)).json()["arrived"] == []
    assert (await page.send(part, b"x" * 10)).status_code == 200
    assert (await page.ask("DELETE", begun["token"])).status_code == 204
    assert (await page.ask("DELETE", other["token"])).status_code == 204
    assert await left(s3_client, bucket) == ([], [])


async def test_completing_too_early(page: Page, told: list[DirectUpload]) -> None:
    """11. Missing parts, or parts that are not what the page has sent: 409 says which; nothing is made."""
    content = PNG.ljust(PART + 10, b"x")
    begun = await page.begin(len(content))
    first, last = begun["urls"]
    etag = (await page.send(first, content[:PART])).headers["etag"]
    for etags in ([etag], [etag, etag], []):
        answer = await page.complete(begun, etags)
        assert answer.status_code == 409
        assert answer.json()["missing"] == ([2] if etags else [1, 2])
    seen = (await page.send(last, content[PART:])).headers["etag"]
    await page.send(last, b"y" * 10)  # another tab with another file
    answer = await page.complete(begun, [etag, seen])
    assert (answer.status_code, answer.json()["missing"]) == (409, [2])
    assert told == []
    assert await page.app.storage.stat(begun["key"]) is None
    await page.send(last, content[PART:])
    assert (await page.complete(begun, [etag, seen])).status_code == 200
    assert await page.app.storage.read(begun["key"]) == content


async def test_going_on_after_a_reload(page: Page) -> None:
    """A page that knows nothing but its token learns what S3 has, and where to send the rest."""
    content = PNG.ljust(PART + 10, b"x")
    begun = await page.begin(len(content))
    await page.send(begun["urls"][0], content[:PART])
    found = (await page.ask("GET", begun["token"])).json()
    assert [part["number"] for part in found["arrived"]] == [1]
    assert [part["number"] for part in found["urls"]] == [2]
    assert (found["size"], found["part_size"], found["complete"]) == (len(content), PART, False)
    again = (await page.ask("POST", f"{begun['token']}/parts", {"numbers": [2]})).json()["urls"]
    last = await page.send(again[0], content[PART:])
    etags = [found["arrived"][0]["etag"], last.headers["etag"]]
    assert (await page.complete(begun, etags)).status_code == 200
    assert (await page.ask("GET", begun["token"])).json()["complete"] is True


@on_each_s3
async def test_completing_twice(page: Page, told: list[DirectUpload]) -> None:
    """18. Whoever got no answer asks again, also for a file that others complete at that moment: the same."""
    begun = await page.begin(len(PNG))
    etags = await page.send_all(begun, PNG)
    answers = await asyncio.gather(*(page.complete(begun, etags) for _ in range(3)))
    answers += [await page.complete(begun, etags), await page.complete(begun, [])]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["key"] for answer in answers} == {begun["key"]} == {file.key for file in told}
    assert await page.app.storage.read(begun["key"]) == PNG
    assert len(told) <= 3  # who asks later learns no more than that it is done
    assert (await page.ask("DELETE", begun["token"])).status_code == 204  # the file stays
    assert await page.app.storage.read(begun["key"]) == PNG
    await page.app.storage.delete(begun["key"])
    assert (await page.complete(begun, etags)).status_code == 410
    assert await page.app.storage.stat(begun["key"]) is None


async def test_the_content_decides(page: Page, told: list[DirectUpload]) -> None:
    """13. HTML that was declared as PNG is removed before the application hears of it; a JPEG is not."""
    answer = await page.upload(b"<html><script>alert(1)</script>")
    assert answer.status_code == 415
    assert "text/html" in answer.json()["error"]
    assert told == []
    assert [stored async for stored in page.app.storage.list()] == []
    answer = await page.upload(b"\xff\xd8\xff\xe0" + bytes(1000))
    assert answer.json()["content_type"] == "image/jpeg"
    (file,) = told
    stored = await page.app.storage.stat(file.key)
    assert stored is not None
    assert (file.content_type, stored.content_type, stored.filename) == (
        "image/jpeg",
        "image/jpeg",
        "cat.png",
    )


async def test_told_before_it_begins(page: Page, s3_client: Any, bucket: str) -> None:
    """13. What the browser itself calls a type that is not accepted is refused before S3 hears of it."""
    for kind in ("text/html", "image/svg+xml", "application/pdf", "IMAGE/SVG+XML; charset=utf-8"):
        answer = await page.ask("POST", content={"size": 10, "type": kind})
        assert answer.status_code == 415, kind
    assert await left(s3_client, bucket) == ([], [])
    unknown = await page.begin(len(PNG), "image-of-some-sort")
    assert (await page.complete(unknown, await page.send_all(unknown, PNG))).json()[
        "content_type"
    ] == "image/png"


async def test_another_user(page: Page, s3_storage: S3Storage) -> None:
    """15. A token of another user, mount, tenant or secret, or an altered one: 404, and nothing else."""
    begun = await page.begin(len(PNG))
    elsewhere = DirectUploads(s3_storage, secret_key=SECRET, prefix="films/", user=who)
    tenant = DirectUploads(s3_storage.scoped("tenants/7/"), secret_key=SECRET, user=who)
    stranger = DirectUploads(s3_storage, secret_key=SECRET + "!", user=who)
    anybody = DirectUploads(s3_storage, secret_key=SECRET)
    payload, _, signature = begun["token"].rpartition(".")
    facts = json.loads(base64.urlsafe_b64decode(payload + "=="))
    facts[2] = 1
    altered = base64.urlsafe_b64encode(json.dumps(facts).encode()).decode().rstrip("=")
    for other, token in (
        (Page(page.app, user="bob"), begun["token"]),
        *((Page(app), begun["token"]) for app in (elsewhere, tenant, stranger, anybody)),
        (page, f"{altered}.{signature}"),
        (page, payload),
        (page, "x"),
        (page, "\u00e4.\u00e4"),
    ):
        for method, step in (("GET", ""), ("DELETE", ""), ("POST", "/parts"), ("POST", "/complete")):
            answer = await other.ask(method, token + step, {"numbers": [1], "etags": ["x"]})
            assert (answer.status_code, answer.json()) == (404, {"error": "there is no such upload here"})
        if other is not page:
            await other.s3.aclose()
    assert (await Page(page.app, user="").ask("POST", content={"size": 1})).status_code == 403
    assert (await page.ask("GET", begun["token"])).status_code == 200


async def test_too_late(page: Page) -> None:
    """19. After its time a token is of no use but to remove what has arrived."""
    begun = await page.begin(len(PNG))
    etags = await page.send_all(begun, PNG)
    page.app._now = lambda: begun["expires"] - 10.0
    assert (await page.ask("GET", begun["token"])).json()["urls"] == []
    (part,) = (await page.ask("POST", f"{begun['token']}/parts", {"numbers": [1]})).json()["urls"]
    assert "X-Amz-Expires=10&" in part["url"]
    page.app._now = lambda: float(begun["expires"])
    assert (await page.complete(begun, etags)).status_code == 410
    assert (await page.ask("POST", f"{begun['token']}/parts", {"numbers": [1]})).status_code == 410
    assert (await page.ask("DELETE", begun["token"])).status_code == 204
    page.app._now = lambda: 0.0
    assert (await page.complete(begun, etags)).status_code == 410


async def test_abandoned(page: Page, s3_client: Any, bucket: str) -> None:
    """7. What nobody goes on with is found by the sweep; what is new is left alone."""
    begun = await page.begin(PART + 1)
    await page.send(begun["urls"][1], b"x")
    storage = page.app.storage
    assert (await storage.sweep()).removed == ()
    swept = await sweep(storage, timedelta(days=1), now=lambda: datetime.now(UTC) + timedelta(days=2))
    assert [(leftover.name, leftover.size) for leftover in swept.removed] == [(begun["key"], 1)]
    assert await left(s3_client, bucket) == ([], [])
    assert (await page.complete(begun, ["x", "y"])).status_code == 410
    assert (await page.ask("GET", begun["token"])).status_code == 410


async def test_an_application_that_fails(page: Page, told: list[DirectUpload]) -> None:
    """21. What on_complete raises reaches the client, and the next request calls it again."""
    begun = await page.begin(len(PNG))
    etags = await page.send_all(begun, PNG)
    remember = page.app._handover.on_complete

    async def full(file: DirectUpload) -> None:
        raise UploadRejected("your album is full")

    page.app._handover.on_complete = full
    answer = await page.complete(begun, etags)
    assert (answer.status_code, answer.json()) == (400, {"error": "your album is full"})
    page.app._handover.on_complete = remember
    assert (await page.complete(begun, etags)).status_code == 200
    assert [file.key for file in told] == [begun["key"]]


@pytest.fixture
async def lenient(stand_in: S3StandIn, told: list[DirectUpload]) -> AsyncGenerator[Page, None]:
    """A page whose S3 checks no signature, and loses answers on demand."""

    async def remember(file: DirectUpload) -> None:
        told.append(file)

    async with S3Storage("bucket", **stand_in.client_kwargs) as storage:
        page = Page(DirectUploads(storage, secret_key=SECRET, part_size=PART, on_complete=remember))
        yield page
        await page.close()


async def test_an_answer_that_is_lost(lenient: Page, stand_in: S3StandIn, told: list[DirectUpload]) -> None:
    """18. S3 made the file and its answer was lost: that is found out, and the page told so."""
    begun = await lenient.begin(len(PNG))
    etags = await lenient.send_all(begun, PNG)
    stand_in.lose = {"POST complete"}
    answer = await lenient.complete(begun, etags)
    assert (answer.status_code, stand_in.lose) == (200, set())
    assert [file.key for file in told] == [begun["key"]] == list(stand_in.objects)


async def test_an_s3_that_checks_nothing(lenient: Page, stand_in: S3StandIn) -> None:
    """11. Parts of other sizes than granted, should S3 take them, are no parts: 409, and nothing is made."""
    begun = await lenient.begin(PART + 10)
    first, last = begun["urls"]
    for contents in ((b"x" * PART, b"x" * 11), (b"x" * (PART - 1), b"x" * 11)):
        parts = zip((first, last), contents, strict=True)
        etags = [(await lenient.send(part, content)).headers["etag"] for part, content in parts]
        answer = await lenient.complete(begun, etags)
        assert answer.status_code == 409
        assert 2 in answer.json()["missing"]
    assert stand_in.objects == {}


async def test_cancelled_at_every_await(lenient: Page, stand_in: S3StandIn, told: list[DirectUpload]) -> None:
    """4. Whenever a request to complete is cancelled, the next one goes on; nothing is left over."""
    content = b"\xff\xd8\xff\xe0".ljust(1000, b"x")  # a JPEG, which the page calls a PNG
    begun: dict[str, Any] = {}
    etags: list[str] = []

    async def prepare() -> None:
        begun.update(await lenient.begin(len(content)))
        etags[:] = await lenient.send_all(begun, content)

    async def check(number: int) -> None:
        answer = await lenient.complete(begun, etags)
        assert (answer.status_code, answer.json()["content_type"]) == (200, "image/jpeg"), number
        assert await lenient.app.storage.read(begun["key"]) == content
        assert told[-1].key == begun["key"]
        assert stand_in.uploads == {}
        await prepare()

    await prepare()
    assert await cancel_everywhere(lambda: lenient.complete(begun, etags), check) > 5
    assert await lenient.app.storage.read(begun["key"]) == content


async def test_a_server_that_died(page: Page, told: list[DirectUpload]) -> None:
    """4. Files whose server and page died before anybody was told: the sweep sees them through."""
    remember = page.app._handover.on_complete

    async def die(file: DirectUpload) -> None:
        raise ServerDied

    page.app._handover.on_complete = die
    for content in (PNG, b"\xff\xd8\xff\xe0" + bytes(1000)):
        with pytest.raises(ServerDied):
            await page.upload(content)
    removed = [stored.key async for stored in page.app.storage.list() if not stored.key.startswith("direct/")]
    await page.app.storage.delete(removed.pop())
    page.app._handover.on_complete = remember
    assert await page.app.sweep() == 0  # they are young: somebody may be at it
    other = DirectUploads(page.app.storage, secret_key=SECRET, prefix="films/")
    page.app._now = other._now = lambda: time.time() + 2 * 3600
    assert await other.sweep() == 0
    assert await page.app.sweep() == 2
    assert [(file.key, file.user) for file in told] == [(key, "ann") for key in removed]
    assert [stored.key async for stored in page.app.storage.list()] == removed
    assert await page.app.sweep() == 0


async def test_a_server_that_died_earlier(page: Page, told: list[DirectUpload]) -> None:
    """13. The sweep looks inside, too: of a file that nobody has seen the application is not told."""
    begun = await page.begin(len(PNG))
    html = b"<html>".ljust(len(PNG))
    etags = await page.send_all(begun, html)
    opened = page.app.storage.open

    async def die(key: str, **options: Any) -> Any:
        raise ServerDied

    page.app.storage.open = die  # type: ignore[method-assign]
    with pytest.raises(ServerDied):
        await page.complete(begun, etags)
    page.app.storage.open = opened  # type: ignore[method-assign]
    page.app._now = lambda: time.time() + 2 * 3600
    assert await page.app.sweep() == 1
    assert [stored.key async for stored in page.app.storage.list()] == []
    assert told == []


class Watched:
    """Where a file goes, for who looks whether it is there: the first time, and then waits."""

    def __init__(self, target: Any, until: asyncio.Event) -> None:
        self._target, self._until, self.looked = target, until, asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    async def found(self) -> Any:
        found = await self._target.found()
        if not self.looked.is_set():
            self.looked.set()
            await self._until.wait()
        return found


async def test_a_sweep_while_a_file_is_made(page: Page, told: list[DirectUpload]) -> None:
    """4. A server died over a file, and it is made when the sweep has just looked for it: the application is
    told of it all the same, also if that server dies, too. What can never come has no note any more."""
    begun = await page.begin(len(PNG))
    etags = await page.send_all(begun, PNG)
    grant = page.app._tokens.read(begun["token"], page.user)
    assert grant is not None
    notes = page.app._handover._notes
    await notes.write(grant, page.user)
    other = DirectUploads(page.app.storage, secret_key=SECRET, part_size=PART)
    other._now = lambda: time.time() + 2 * 3600
    made = asyncio.Event()
    watched = Watched(await other._handover.target(grant), made)

    async def target(grant: Any) -> Any:
        return watched

    other._handover.target = target  # type: ignore[method-assign]
    sweeping = asyncio.ensure_future(other.sweep())
    await watched.looked.wait()
    there = notes.there

    async def look(grant: Any) -> bool:
        made.set()
        assert await sweeping == 0
        return await there(grant)

    notes.there = look  # type: ignore[method-assign]
    assert (await page.complete(begun, etags)).status_code == 200
    assert [file.key for file in told] == [begun["key"]]
    begun = await page.begin(len(PNG))
    grant = page.app._tokens.read(begun["token"], page.user)
    assert grant is not None
    await notes.write(grant, page.user)
    page.app._now = other._now
    assert await page.app.sweep() == 0
    page.app._now = lambda: time.time() + 26 * 3600
    assert await page.app.sweep() == 1
    assert not await there(grant)


async def test_s3_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """An S3 that cannot be reached is a 503; what it was is for the log, and not for the client."""
    keys = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "secret-key"}
    async with S3Storage("bucket", endpoint_url=f"http://127.0.0.1:{free_port()}", **keys) as storage:
        page = Page(DirectUploads(storage, secret_key=SECRET))
        answer = await page.ask("POST", content={"size": 10})
        await page.close()
    assert answer.status_code == 503
    assert "ask again" in answer.json()["error"]
    assert "127.0.0.1" not in answer.text
    assert "127.0.0.1" in caplog.text
    assert "secret-key" not in caplog.text


async def test_etags_that_a_page_cannot_read(page: Page) -> None:
    """A page that sees no ETag, because the bucket does not show it, is told what to do about it."""
    begun = await page.begin(len(PNG))
    await page.send_all(begun, PNG)
    for nothing in (None, "", '""'):
        answer = await page.ask("POST", f"{begun['token']}/complete", {"etags": [nothing]})
        assert answer.status_code == 400
        assert "ExposeHeaders" in answer.json()["error"]
    assert cors_rule(["https://shop.example"])["ExposeHeaders"] == ["ETag"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({}, 400),
        ({"size": "10"}, 400),
        ({"size": 0}, 400),
        ({"size": -1}, 400),
        ({"size": True}, 400),
        ({"size": 1.5}, 400),
        ({"size": 10, "type": 5}, 400),
        ({"size": 10, "name": ["x"]}, 400),
        ([], 400),
        ("text", 400),
        ({"size": 1024**3 + 1}, 413),
        ({"size": 10**400}, 413),
        ({"size": 1, "name": "x" * 1024**2}, 413),
    ],
)
async def test_bad_beginnings(page: Page, s3_client: Any, bucket: str, content: Any, status: int) -> None:
    """10. What is no size, no text, too large or no object: a clear answer, and S3 hears nothing of it."""
    answer = await page.ask("POST", content=content)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert await left(s3_client, bucket) == ([], [])


async def test_bad_requests(page: Page) -> None:
    """What is no JSON, not sent as JSON, of another method, or asks for parts that are none, is told so."""
    begun = await page.begin(PART + 1)
    token = begun["token"]
    for numbers in (None, "1", [0], [3], [1.0], [True], [1] * 101):
        assert (await page.ask("POST", f"{token}/parts", {"numbers": numbers})).status_code == 400, numbers
    for etags in (None, {}, "x", [1], ["x"] * 3):
        assert (await page.ask("POST", f"{token}/complete", {"etags": etags})).status_code == 400, etags
    for method, path in (("PUT", token), ("POST", token), ("GET", f"{token}/parts"), ("POST", f"{token}/x")):
        assert (await page.ask(method, path, {})).status_code == 405
    assert (await page.ask("GET", "")).status_code == 404
    transport = httpx.ASGITransport(page.app)
    headers = {"x-user": "ann", "content-type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://shop", headers=headers) as client:
        for body in (b"", b"{", b"\xff", b"[" * 100_000, b'{"size": 1}x'):
            assert (await client.post("/", content=body)).status_code == 400
        answer = await client.post("/", content=b'{"size": 1}', headers={"content-type": "text/plain"})
        assert answer.status_code == 415


async def test_a_name_that_is_no_text(page: Page) -> None:
    """14. A lone surrogate in a name, which JSON can carry, does no harm."""
    begun = await page.begin(len(PNG), name="a\ud800b\0.png")
    answer = await page.complete(begun, await page.send_all(begun, PNG))
    assert answer.json()["filename"] == "a?b.png"


def test_parts_of_huge_files() -> None:
    """9. 24. However large the file is, it has 10,000 parts at most, all of one size but the last."""
    assert part_size_for(1, PART) == PART
    assert part_size_for(10_000 * PART, PART) == PART
    assert part_size_for(10_000 * PART + 1, PART) == 6 * MiB
    largest = part_size_for(5 * 1024**4, PART)
    assert 10_000 * largest >= 5 * 1024**4
    assert largest % MiB == 0


async def test_options_are_checked(s3_storage: S3Storage) -> None:
    """A mistake of the application is one when it is set up."""
    make: Callable[..., DirectUploads] = DirectUploads
    for options in (
        {"max_size": 0}, {"max_size": 5 * 1024**4 + 1}, {"part_size": MiB}, {"accept": "image/*"},
        {"expires": 0}, {"expires": timedelta(days=8)}, {"secret_key": "short"},
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            make(s3_storage, **({"secret_key": SECRET} | options))
    with pytest.raises(ConfigurationError, match="MemoryStorage"):
        make(MemoryStorage(), secret_key=SECRET)
