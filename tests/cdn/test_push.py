"""Pushing assets to S3: what is sent, in which order, and that nobody ever sees half a release."""

import asyncio
import gzip
import hashlib
import json
import re
import sys
import threading
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("aiobotocore")

from scalekit.cdn import Assets
from scalekit.cdn._uploads import Content, Upload
from scalekit.cdn.build import build
from scalekit.cdn.compress import Compression
from scalekit.cdn.manifest import Entry, Manifest
from scalekit.cdn.push import Change, PushProgress, PushReport, current, push
from scalekit.errors import BackendUnavailable, ConfigurationError, PushRefused
from tests.cdn.bucket import AssetsS3, read_site, read_stand_in, reader
from tests.cdn.conftest import FILES, write_tree
from tests.servers import S3Server

SMALL = {
    "img/a.png": b"an image", "img/b.png": b"another one", "b.js": b"old()",
    "site.css": b"body { background: url(img/a.png) }",
}  # fmt: skip
FOR_EVER = "public, max-age=31536000, immutable"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr("scalekit.cdn.push._POLL_SECONDS", 0.01)


@pytest.fixture
async def s3() -> AsyncGenerator[AssetsS3, None]:
    async with AssetsS3() as server:
        yield server


LONG = b"/* " + b"text that compresses well " * 40 + b"*/"


def built(folder: Path) -> Assets:
    """A built tree; three of its files have a gzip variant."""
    files = FILES | {name: FILES[name] + LONG for name in ("app.js", "css/site.css", "css/base.css")}
    compression = Compression(br=None, zstd=None)
    build(write_tree(folder / "src", files), folder / "dist", compression=compression)
    return Assets.from_manifest(folder / "dist/manifest.json", folder=folder / "dist")


def ours(log: list[tuple[str, str]]) -> list[str]:
    """The requests of a push, without hashes and times, which differ."""
    return [re.sub(r"[0-9TZ.]{20,}-[0-9a-f]{16}", "*", f"{method} {key}") for method, key in log]


async def test_what_is_stored(s3: AssetsS3, tmp_path: Path) -> None:
    """Each file under its hashed name, with type, cache header and coding; the manifest, and the pointer."""
    assets = built(tmp_path)
    report = await push(assets, s3.url())
    sent = sum(len(content) for key, (content, *_) in s3.objects.items() if "/.scalekit/" not in key)
    assert report == PushReport(created=len(assets) + 3, bytes_written=sent, is_new=True)
    site = await read_stand_in(s3)
    assert site is not None
    assert site["logo.png"] == FILES["logo.png"]
    assert b"photo%20one." in site["css/site.css"]
    css = assets.get("css/site.css")
    assert css is not None
    content, _, headers, _ = s3.objects[f"static/{css.hashed_name}"]
    assert (headers["content-type"], headers["cache-control"]) == ("text/css; charset=utf-8", FOR_EVER)
    assert "content-encoding" not in headers
    variant, _, headers, _ = s3.objects[f"static/{css.hashed_name}.gz"]
    assert gzip.decompress(variant) == content
    assert (headers["content-type"], headers["content-encoding"]) == ("text/css; charset=utf-8", "gzip")
    assert headers["cache-control"] == FOR_EVER
    assert s3.objects["static/.scalekit/current.json"][2]["cache-control"] == "no-cache"


async def test_an_unchanged_tree_uploads_nothing(s3: AssetsS3, tmp_path: Path) -> None:
    """A second push of an unchanged tree uploads 0 objects, and asks for one listing."""
    await push(built(tmp_path), s3.url())
    s3.log.clear()
    report = await push(built(tmp_path), s3.url())
    assert (report.created, report.replaced, report.unchanged, report.is_new) == (0, 0, 14, False)
    assert s3.log == [("LIST", "static/")]


async def test_one_large_file_at_a_time(
    s3: AssetsS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are in memory while it is sent, and while it is compared with what is there."""
    monkeypatch.setattr("scalekit.cdn.push._LARGE", 1)
    read, together = Upload.read, threading.Barrier(2)
    met: list[int] = []

    def meeting(upload: Upload) -> Content:
        try:
            met.append(together.wait(0.05))
        except threading.BrokenBarrierError:
            together.reset()  # alone
        return read(upload)

    monkeypatch.setattr("scalekit.cdn.push._ROUNDS", 1)
    assets = Assets(write_tree(tmp_path / "src", {"a.bin": b"large", "b.bin": b"larger", "c": b"largest"}))
    monkeypatch.setattr(Upload, "read", meeting)
    for created in (3, 0):
        assert (await push(assets, s3.url())).created == created
    assert met == []


async def test_an_unchanged_tree_where_tags_say_nothing(s3: AssetsS3, tmp_path: Path) -> None:
    """Nor in a bucket whose entity tags are no MD5: what is beside each object is asked for."""
    s3.opaque_tags = True
    await push(built(tmp_path), s3.url())
    s3.log.clear()
    report = await push(built(tmp_path), s3.url())
    assert (report.unchanged, report.is_new) == (14, False)
    assert {method for method, _ in s3.log} == {"LIST", "HEAD", "GET"}


async def test_only_what_changed_is_sent(s3: AssetsS3, tmp_path: Path) -> None:
    """A new image, the style sheet that shows it, the one that imports that, and no more."""
    folder = write_tree(tmp_path, FILES)
    await push(Assets(folder), s3.url())
    s3.log.clear()
    (folder / "img/photo one.jpg").write_bytes(b"another photo")
    seen: list[Change] = []
    assert (await push(Assets(folder), s3.url(), on_change=seen.append)).created == 2
    created = [change.name for change in seen if change.action == "created"]
    assert [re.sub(r"\.[0-9a-f]{12}", "", name) for name in created] == ["img/photo one.jpg", "css/site.css"]
    assert [line for line in ours(s3.log) if not line.startswith("PUT static/img")] == [
        "LIST static/",
        "PUT static/.scalekit/pushing/*.json",
        f"PUT static/{created[1]}",
        "PUT static/.scalekit/releases/*.json",
        "LIST static/",
        "PUT static/.scalekit/current.json",
        "DELETE static/.scalekit/pushing/*.json",
    ]


async def test_no_file_before_those_that_it_names(s3: AssetsS3, tmp_path: Path) -> None:
    """A style sheet goes up after its images and imports, a module after what it imports; so do variants."""
    files = {
        "a.css": b'@import "b.css";' + LONG, "b.css": b'@import "sub/c.css";' + LONG,
        "sub/c.css": b"i { background: url('../two%20words.svg') }" + LONG, "two words.svg": b"<svg/>",
        "page.js": b'import "./lib/x.mjs"; import("./later.js");' + LONG, "later.js": b"export {}" + LONG,
        "lib/x.mjs": b'import "./y.mjs";' + LONG, "lib/y.mjs": b'export * from "./z.mjs";' + LONG,
        "lib/z.mjs": b"export const z = 1;" + LONG,
        "one.mjs": b'import "./other.mjs"; import "./lib/z.mjs";' + LONG,
        "other.mjs": b'import "./one.mjs";' + LONG,
    }  # fmt: skip
    build(write_tree(tmp_path / "src", files), tmp_path / "dist")
    assets = Assets.from_manifest(tmp_path / "dist/manifest.json", folder=tmp_path / "dist")
    parts = {quote(asset.hashed_name.rpartition("/")[2]): asset.hashed_name for asset in assets}
    plain = {asset.hashed_name: asset.name for asset in assets}
    seen = set()

    def before(method: str, key: str) -> None:
        if method != "PUT" or "/.scalekit/" in key:
            return
        name = next(name for name in plain if key.removeprefix("static/").startswith(name))
        body = (tmp_path / "dist" / name).read_bytes()
        for part, other in parts.items():
            circle = {plain[name], plain[other]} <= {"one.mjs", "other.mjs"}
            if part.encode() in body and not circle:
                seen.add((plain[name], plain[other]))
                if f"static/{other}" not in s3.objects:
                    early.append(f"{key} before {other}")

    early: list[str] = []
    s3.before = before
    report = await push(assets, s3.url())
    assert early == []
    assert seen == {
        ("a.css", "b.css"), ("b.css", "sub/c.css"), ("sub/c.css", "two words.svg"), ("page.js", "lib/x.mjs"),
        ("page.js", "later.js"), ("lib/x.mjs", "lib/y.mjs"), ("lib/y.mjs", "lib/z.mjs"),
        ("one.mjs", "lib/z.mjs"),
    }  # fmt: skip
    assert report.created > len(assets), "and the variants; which there are depends on extras"


async def test_headers_are_looked_at_on_request(s3: AssetsS3, tmp_path: Path) -> None:
    """What another tool has brought without headers is the same to a push, unless headers are asked for."""
    assets = Assets(write_tree(tmp_path, {"a.png": b"a", "b.png": b"b"}))
    await push(assets, s3.url())
    key = f"static/{assets.get('a.png').hashed_name}"  # type: ignore[union-attr]
    content, tag, headers, size = s3.objects[key]
    s3.objects[key] = content, tag, {"content-type": "binary/octet-stream"}, size
    assert (await push(assets, s3.url())).replaced == 0
    assert (await push(assets, s3.url(), check_headers=True)).replaced == 1
    assert s3.objects[key][2] == headers
    s3.log.clear()
    assert (await push(assets, s3.url(), check_headers=True)).unchanged == 2


async def test_names_without_a_hash(s3: AssetsS3, tmp_path: Path) -> None:
    """What has one name in all releases is kept for a while only, and replaced last, if it changed."""
    write_tree(tmp_path, {"robots.txt": b"one", "app-BRBmoGS9.js": b"//"})
    entries = [
        Entry(name="robots.txt", hashed_name="robots.txt", content_type="text/plain", immutable=False),
        Entry(name="app.js", hashed_name="app-BRBmoGS9.js", content_type="text/javascript"),
    ]
    assets = Assets.from_manifest(Manifest(entries), folder=tmp_path, max_age=300)
    await push(assets, s3.url())
    assert s3.objects["static/robots.txt"][2]["cache-control"] == "public, max-age=300"
    assert [key for method, key in s3.log if method == "PUT"].index("static/robots.txt") == 2
    (tmp_path / "robots.txt").write_bytes(b"two")
    again = Assets.from_manifest(Manifest(entries), folder=tmp_path, max_age=300)
    assert (await push(again, s3.url())).replaced == 1
    assert s3.objects["static/robots.txt"][0] == b"two"


async def test_damage_is_repaired(s3: AssetsS3, tmp_path: Path) -> None:
    """A file that is gone, or has another content, is sent again; what somebody else keeps there is left."""
    assets = Assets(write_tree(tmp_path, FILES))
    await push(assets, s3.url())
    keys = [key for key in s3.objects if key.endswith((".png", ".webp"))]
    del s3.objects[keys[0]]
    content, _, headers, size = s3.objects[keys[1]]
    s3.objects[keys[1]] = b"x" * size, hashlib.md5(b"x" * size).hexdigest(), {}, size
    s3.objects["static/mine.txt"] = b"mine", "tag", {}, 4
    s3.times["static/mine.txt"] = s3.now
    report = await push(assets, s3.url())
    assert (report.created, report.replaced, report.is_new) == (1, 1, False)
    assert s3.objects[keys[1]][:1] + s3.objects[keys[1]][2:] == (content, headers, size)
    assert "static/mine.txt" in s3.objects


async def test_progress_and_dry_run(s3: AssetsS3, tmp_path: Path) -> None:
    """A dry run sends nothing and says what would be; progress grows to the sum of what is sent."""
    assets = Assets(write_tree(tmp_path, FILES))
    dry = await push(assets, s3.url(), dry_run=True)
    assert s3.objects == {}
    seen: list[PushProgress] = []
    report = await push(assets, s3.url(), on_progress=seen.append, concurrency=2)
    assert report == dry
    assert [now.done for now in seen] == sorted(now.done for now in seen)
    assert (seen[-1].done, seen[-1].total) == (report.bytes_written, report.bytes_written)


async def test_two_pushes_at_once(s3: AssetsS3, tmp_path: Path) -> None:
    """Whatever two jobs do to each other's timing, the pointer names a whole release, one of the two."""
    one = Assets(write_tree(tmp_path / "one", FILES))
    two = Assets(write_tree(tmp_path / "two", FILES | {"logo.png": b"another logo"}))
    states: list[bytes | None] = []

    async def watch() -> None:
        while True:
            site = await read_stand_in(s3)
            states.append(None if site is None else site["logo.png"])
            await asyncio.sleep(0.001)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(push(assets, s3.url(), concurrency=3) for assets in (one, two, one, two)))
    watcher.cancel()
    await asyncio.wait({watcher})
    assert watcher.cancelled(), watcher.exception()
    site = await read_stand_in(s3)
    assert site is not None
    assert site["logo.png"] in (FILES["logo.png"], b"another logo")
    assert not [key for key in s3.objects if "/pushing/" in key]


async def test_the_current_manifest_for_servers(s3: AssetsS3, tmp_path: Path) -> None:
    """A server without the files learns from the bucket what they are called."""
    assert await current(s3.url()) is None
    assets = Assets(write_tree(tmp_path, FILES), cdn="https://cdn.example.net")
    await push(assets, s3.url())
    manifest = await current(s3.url())
    assert manifest is not None
    there = Assets.from_manifest(manifest, cdn="https://cdn.example.net")
    assert {name: there.url(name) for name in FILES} == {name: assets.url(name) for name in FILES}
    s3.objects["static/.scalekit/current.json"] = b"{}", "tag", {}, 2
    with pytest.raises(PushRefused, match=r"current\.json points at no manifest; push again"):
        await current(s3.url())


async def test_a_changed_file_is_refused(s3: AssetsS3, tmp_path: Path) -> None:
    """A file that is not what was hashed goes nowhere: pages would refuse it, and caches keep it for ever."""
    assets = Assets(write_tree(tmp_path, FILES))
    (tmp_path / "logo.png").write_bytes(b"changed!!")
    with pytest.raises(ConfigurationError, match="has changed since it was hashed; build the assets again"):
        await push(assets, s3.url())
    assert "static/.scalekit/current.json" not in s3.objects


async def test_a_store_that_keeps_nothing(s3: AssetsS3, tmp_path: Path) -> None:
    """What is not there after it was sent, again and again, is an error, and the pointer stays."""

    def before(method: str, key: str) -> None:
        for name in [name for name in s3.objects if "logo" in name and method == "LIST"]:
            del s3.objects[name]

    s3.before = before
    with pytest.raises(PushRefused, match="does not keep what is sent to it: 1 files, of which 'logo"):
        await push(Assets(write_tree(tmp_path, FILES)), s3.url())
    assert await read_stand_in(s3) is None


@pytest.mark.parametrize(
    ("method", "status", "code", "said"),
    [
        ("LIST", 403, "AccessDenied", "these credentials need s3:ListBucket for the bucket"),
        ("PUT", 403, "AccessDenied", "these credentials need s3:PutObject for what is below the prefix"),
        ("LIST", 403, "InvalidAccessKeyId", "these credentials are not of this server"),
        ("LIST", 403, "SignatureDoesNotMatch", "the secret is not the one of this access key"),
        ("LIST", 404, "NoSuchBucket", "make the bucket, or correct its name"),
    ],
)
async def test_refusals(s3: AssetsS3, tmp_path: Path, method: str, status: int, code: str, said: str) -> None:
    """Missing rights, wrong credentials, no such bucket: what S3 said, where, and what helps."""
    s3.refused[method] = status, code
    with pytest.raises(PushRefused, match=rf"{code} \(bucket 'shop-assets' at 127\.0\.0\.1:\d+\); {said}"):
        await push(Assets(write_tree(tmp_path, FILES)), s3.url())


async def test_outages(s3: AssetsS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that fails, or is not there, is told from one that refuses; so are missing credentials."""
    assets = Assets(write_tree(tmp_path, {"a.png": b"a"}))
    s3.refused["LIST"] = 500, "InternalError"
    with pytest.raises(BackendUnavailable, match="S3 failed to list"):
        await push(assets, s3.url())
    with pytest.raises(BackendUnavailable, match="is the endpoint right, and does the server run"):
        await push(assets, "s3://shop-assets?endpoint_url=http://127.0.0.1:9&region_name=us-east-1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(ConfigurationError, match="set AWS_PROFILE, or AWS_ACCESS_KEY_ID"):
        await push(assets, s3.url())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("static", "write s3://bucket"),
        ("https://shop-assets.s3.amazonaws.com", "write s3://bucket"),
        ("s3://key:hunter2@bucket", "no user and no password"),
        ("s3://", "an s3:// URL is s3://bucket"),
        ("s3://bucket:9000/x", "goes into"),
        ("s3://bucket/x?secret=hunter2", "no option secret; it takes endpoint_url, region_name"),
        ("s3://bucket/x?endpoint_url=minio", "begins with http"),
        ("s3://bucket/a/../b", "an empty part"),
        ("s3://bucket/x?endpoint_url=https://", "endpoint_url= is no address"),
        ("s3://bucket/x?region_name=a/b", "correct the options"),
    ],
)
async def test_bad_destinations(url: str, said: str, tmp_path: Path) -> None:
    """A destination that is none is told from the words alone, and what may be a secret is not repeated."""
    with pytest.raises(ConfigurationError, match=said) as raised:
        await push(Assets(write_tree(tmp_path, {"a.png": b"a"})), url)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("which", ["s3_server", "strict_s3_server"])
async def test_a_real_server(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The same on real servers, beside another application's objects."""
    from aiobotocore.session import get_session

    server: S3Server = request.getfixturevalue(which)
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    server.create_bucket(bucket)
    async with get_session().create_client("s3", **server.client_kwargs) as client:
        await client.put_object(Bucket=bucket, Key="static-of-others/logo.png", Body=b"x")
        where = f"s3://{bucket}/static"
        assets = built(tmp_path)
        assert (await push(assets, where, client=client)).created == 14
        assert (await push(assets, where, client=client)).unchanged == 14
        site = await read_site(reader(client, bucket, "static/"))
        assert site is not None
        assert site["movie.mp4"] == FILES["movie.mp4"]
        css = assets.get("css/site.css")
        assert css is not None
        head = await client.head_object(Bucket=bucket, Key=f"static/{css.hashed_name}.gz")
        assert (head["ContentEncoding"], head["CacheControl"]) == ("gzip", FOR_EVER)
        with pytest.raises(PushRefused, match="NoSuchBucket"):
            await push(assets, f"s3://absent-{bucket}", client=client)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_killed_at_every_request(s3_server: S3Server, bucket: str, tmp_path: Path) -> None:
    """Killed before or after any of its requests: the old site or the new one, never half."""
    from aiobotocore.session import get_session

    old = write_tree(tmp_path / "old", SMALL)
    new = write_tree(tmp_path / "new", SMALL | {"img/a.png": b"another", "b.js": b"new()"})
    contents = [
        {name: (folder / name).read_bytes() for name in ("img/a.png", "b.js")} for folder in (old, new)
    ]
    seen = []
    command = [sys.executable, "-m", "tests.cdn.kill_push", json.dumps(s3_server.client_kwargs)]
    killer = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert killer.stdin is not None
    assert killer.stdout is not None
    try:
        async with get_session().create_client("s3", **s3_server.client_kwargs) as client:
            for moment in range(100):
                where = f"s3://{bucket}/{moment}"
                await push(Assets(old), where, client=client)
                killer.stdin.write(f"{new}\t{where}\t{moment}\n".encode())
                outcome = (await killer.stdout.readline()).decode().strip()
                site = await read_site(reader(client, bucket, f"{moment}/"))
                assert site is not None
                shown = {name: site[name] for name in contents[0]}
                assert shown in contents
                seen.append(contents.index(shown))
                if outcome == "done":
                    break
                await push(Assets(new), where, client=client)
                site = await read_site(reader(client, bucket, f"{moment}/"))
                assert site is not None
                assert {name: site[name] for name in contents[1]} == contents[1]
    finally:
        killer.stdin.close()
        await killer.wait()
    # The pointer is the eighth of nine requests, and each is killed before it is sent and after its answer.
    assert seen == [0] * 15 + [1] * 4
