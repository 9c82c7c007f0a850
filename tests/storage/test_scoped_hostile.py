"""15. A tenant who chooses keys and prefixes freely reaches nothing of another's."""

import asyncio
import base64
import json
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalekit.errors import ScalekitError
from scalekit.storage import FileStorage, MemoryStorage, MiB, MirroredStorage, Storage
from scalekit.storage.s3 import S3Storage

SECRET = b"what is B's"

# Pieces of what could climb, be taken for something else on the way, or meet what is there.
_PIECES = st.sampled_from(
    ["..", ".", "/", "//", "\\", "b/", "a/", "t/", "../b/", "secret.txt", "k", "%2e%2e", "%2f", "\0", "\n",
     "\u202e", "\u2025", "\uff0f", "\u0301", "e\u0301", " ", "?", "#", "&", "${filename}",
     "'", '"', "x" * 210]
)  # fmt: skip
HOSTILE = st.one_of(st.lists(_PIECES, max_size=6).map("".join), st.text(max_size=20))


async def everything(entries: AsyncGenerator[Any, None]) -> list[Any]:
    return [entry async for entry in entries]


def calls(part: Storage, key: str) -> list[Callable[[], Awaitable[Any]]]:
    """Everything that can be asked of a storage for one key."""
    return [
        lambda: part.read(key),
        lambda: part.stat(key),
        lambda: everything(part.list(key)),
        lambda: part.put(key, b"A's", overwrite=True),
        lambda: part.compose(key, ["mine.txt"], overwrite=True),
        lambda: part.compose("made.txt", [key], overwrite=True),
        lambda: part.copy(key, "copied.txt", overwrite=True),
        lambda: part.copy("mine.txt", key, overwrite=True),
        lambda: part.url(key),
        lambda: part.signed_url(key),
        lambda: everything(part.strays(key)),
        lambda: everything(part.leftovers(datetime.now(UTC), key)),
        lambda: part.scoped(key).read("secret.txt"),
        lambda: part.scoped(key).put("secret.txt", b"A's", overwrite=True),
        lambda: everything(part.scoped(key).list()),
        lambda: part.delete(key),
    ]


async def attack(around: Storage, keys: list[str]) -> None:
    """Ask all of it of tenant A's part, and see that all of B's is as it was and nowhere else."""
    await around.put("t/b/secret.txt", SECRET)
    await around.put("t/ab.txt", SECRET)  # begins as A's prefix does without its slash
    await around.put("secret.txt", SECRET)
    part = around.scoped("t/a/")
    await part.put("mine.txt", b"A's")
    for key in keys:
        for call in calls(part, key):
            try:
                answer = await call()
            except ScalekitError:
                continue
            assert answer != SECRET
    for stored in await everything(around.list()):
        mine = stored.key.startswith("t/a/")
        assert (await around.read(stored.key) == SECRET) != mine
        assert mine or stored.key in ("t/b/secret.txt", "t/ab.txt", "secret.txt")
    assert (
        len([stored for stored in await everything(around.list()) if not stored.key.startswith("t/a/")]) == 3
    )
    assert {stored.key for stored in await everything(part.list())} == {
        stored.key.removeprefix("t/a/") for stored in await everything(around.list("t/a/"))
    }


def storage_of(kind: str, folder: Path) -> Storage:
    if kind == "memory":
        return MemoryStorage()
    if kind == "file":
        return FileStorage(folder / "media")
    return MirroredStorage(MemoryStorage(), folder / "copies", max_bytes=MiB, fresh_for=60, immutable=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "file", "mirror"])
@given(keys=st.lists(HOSTILE, min_size=5, max_size=5))
@settings(max_examples=10, deadline=None)
def test_whatever_the_key(kind: str, keys: list[str]) -> None:
    """15. Whatever the key or prefix: A neither reads, writes, deletes, copies nor lists what is B's."""

    async def run(folder: Path) -> None:
        async with storage_of(kind, folder) as storage:
            await attack(storage, [*keys, "secret.txt", "t/b/secret.txt"])

    with ExitStack() as stack:
        asyncio.run(run(Path(stack.enter_context(tempfile.TemporaryDirectory()))))


async def test_on_s3(s3_storage: S3Storage) -> None:
    """15. The same on a real S3 server, for what climbs."""
    climbing = [
        "../b/secret.txt",
        "../../secret.txt",
        "%2e%2e/b/secret.txt",
        "/t/b/secret.txt",
        "b/secret.txt",
    ]
    await attack(s3_storage, [*climbing, "", "/", "..", "mine.txt"])


async def _signed(part: S3Storage, key: str) -> list[str]:
    """The names of objects for which something is signed that ``key`` has a say in."""
    names = []
    for address in (part.presign_get(key), part.url(key), part.presign_get(key, filename=key)):
        try:
            names.append(unquote(urlsplit(await address).path))
        except ScalekitError:
            continue
    for options in ({"key": key}, {"prefix": key}):
        try:
            ticket = await part.presign_post(max_size=10, content_type="image/png", **options)  # type: ignore[arg-type]
        except ScalekitError:
            continue
        policy = json.loads(base64.b64decode(ticket.fields["policy"]))
        keys = [condition for condition in policy["conditions"] if "key" in condition or "$key" in condition]
        assert keys == [{"key": ticket.fields["key"]}]
        assert ticket.fields["key"] == f"{part.prefix}{ticket.key}"
        names.append(f"/media/{ticket.fields['key']}")
    return names


@pytest.mark.slow
@given(keys=st.lists(HOSTILE, min_size=15, max_size=15))
@settings(max_examples=6, deadline=None)
def test_whatever_is_signed(keys: list[str]) -> None:
    """15. Nothing is signed for a name outside of the tenant's prefix, nested or not."""

    async def run() -> None:
        options: dict[str, Any] = {
            "endpoint_url": "http://127.0.0.1:9",  # signing asks nobody
            "region_name": "us-east-1",
            "aws_access_key_id": "key",
            "aws_secret_access_key": "secret",
        }
        async with S3Storage("media", prefix="app/", **options) as storage:
            for part in (storage.scoped("t/a/"), storage.scoped("t/").scoped("a/")):
                for key in [*keys, "fine.png", "below/"]:
                    for name in await _signed(part, key):
                        assert name.startswith("/media/app/t/a/")
                        assert not {"", ".", ".."} & set(name.removeprefix("/").split("/"))
                assert len(await _signed(part, "fine.png")) == 5

    asyncio.run(run())


async def test_signatures_are_good_for_one_name(s3_server: Any, bucket: str) -> None:
    """15. What A was signed cannot be bent to B's: neither the address nor the form."""
    async with (
        S3Storage(bucket, **s3_server.client_kwargs) as storage,
        httpx.AsyncClient(timeout=60) as client,
    ):
        a, b = storage.scoped("t/a/"), storage.scoped("t/b/")
        await a.put("k.txt", b"A's")
        await b.put("k.txt", SECRET)
        address = await a.presign_get("k.txt")
        assert (await client.get(address)).content == b"A's"
        bent = await client.get(address.replace("/t/a/", "/t/b/"))
        assert (bent.status_code, SECRET in bent.content) == (403, False)
        ticket = await a.presign_post(max_size=100, content_type="text/plain", key="new.txt")
        for name in ("t/b/new.txt", "t/a/../b/new.txt", "t/b/k.txt"):
            form = ticket.fields | {"key": name}
            refused = await client.post(ticket.url, data=form, files={"file": ("f", b"x", "text/plain")})
            assert refused.status_code == 403
        assert [stored.key async for stored in b.list()] == ["k.txt"]
        assert await b.read("k.txt") == SECRET
