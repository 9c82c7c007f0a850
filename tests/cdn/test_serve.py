"""Requests for files, through both shells."""

import os
import shutil
from asyncio import Event
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scalekit.cdn import Asset, AssetFile, Assets
from scalekit.cdn._files import FOREVER, Served
from scalekit.cdn._representation import Representation, Room
from scalekit.cdn.asgi import AssetFiles as AsgiFiles
from scalekit.cdn.serve import Request
from scalekit.cdn.wsgi import AssetFiles as WsgiFiles
from tests.cdn.conftest import FILES, write_tree
from tests.cdn.drivers import Response, Shell, call_asgi

MOVIE = FILES["movie.mp4"]


def asset(assets: Assets, name: str) -> Asset:
    found = assets.get(name)
    assert found is not None
    return found


@pytest.fixture(params=["middleware", "files"])
def fetch(shell: Shell, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Files come alike from around an application and from the application that serves nothing else."""
    if request.param == "files":
        yield shell.file
    else:
        yield lambda assets, path, **options: shell.page(assets, Response([b"the app"]), path, **options)


def test_a_hashed_name_is_immutable(assets: Assets, fetch: Any) -> None:
    """The bytes, their type, a year of life, a strong entity tag, and CORS for fonts and modules."""
    reply = fetch(assets, f"/static/{asset(assets, 'logo.png').hashed_name}")
    assert (reply.status, reply.body) == (200, FILES["logo.png"])
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["content-length"] == str(len(FILES["logo.png"]))
    assert reply.headers["etag"] == f'"{asset(assets, "logo.png").digest[:32]}"'
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["accept-ranges"] == "bytes"
    assert "last-modified" not in reply.headers


def test_a_plain_name_lives_shortly(folder: Path, fetch: Any) -> None:
    """Without its hash a file may be kept for ``max_age`` seconds, and is told apart by its content."""
    reply = fetch(Assets(folder, max_age=5), "/static/img/photo%20one.jpg")
    assert reply.body == FILES["img/photo one.jpg"]
    assert reply.headers["cache-control"] == "public, max-age=5"
    assert reply.headers["etag"].startswith('"')


def test_names_beyond_ascii(assets: Assets, fetch: Any) -> None:
    """A percent-encoded URL finds the file whose name it spells."""
    assert (
        fetch(assets, assets.url("img/bücher.png").removeprefix(assets.cdn or "")).body
        == FILES["img/bücher.png"]
    )


def test_a_style_sheet_has_two_contents(assets: Assets, fetch: Any) -> None:
    """Under its hashed name it refers to hashed names; under its own it is the file. Each has its tag."""
    site = asset(assets, "css/site.css")
    hashed, plain = fetch(assets, f"/static/{site.hashed_name}"), fetch(assets, "/static/css/site.css")
    assert plain.body == FILES["css/site.css"]
    assert hashed.body == site.rendered
    assert asset(assets, "css/base.css").hashed_name.removeprefix("css/").encode() in hashed.body
    assert hashed.headers["content-type"] == "text/css; charset=utf-8"
    assert hashed.headers["etag"] != plain.headers["etag"]
    assert int(hashed.headers["content-length"]) == len(hashed.body)


def test_another_hash_is_kept_by_nobody(assets: Assets, fetch: Any) -> None:
    """In a rolling deploy the next server may have it: 404, ``no-store``, and CORS for scripts to see it."""
    for name in ("logo.000000000000.png", "css/site.0123456789ab.css"):
        reply = fetch(assets, f"/static/{name}")
        assert reply.status == 404
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["access-control-allow-origin"] == "*"


def test_a_name_that_looks_hashed_by_chance_is_the_applications(folder: Path, shell: Shell) -> None:
    """Twelve digits may be a date: no file has that name with any hash, so the application is asked."""
    report = Response([b"a report"], {"content-type": "text/csv", "cache-control": "max-age=60"})
    for url, path in {
        "/static/": "/static/up/photo.202601011200.jpg",
        "/": "/report.202601011200.csv",
    }.items():
        reply = shell.page(Assets(folder, url=url), report, path)
        assert (reply.status, reply.body, reply.headers) == (200, b"a report", report.headers)


@pytest.mark.parametrize("kind", ["text/html", "text/plain"])
def test_that_the_application_has_no_such_name_is_kept_by_nobody(
    assets: Assets, shell: Shell, kind: str
) -> None:
    """A file may be new in the release that is rolled out; other 404s are as the application has them."""
    response = Response([b"nothing here"], {"content-type": kind, "cache-control": "max-age=60"}, status=404)
    for path, control in {
        "/static/new.202601011200.jpg": "no-store",
        "/static/new.jpg": "max-age=60",
        "/new.202601011200.jpg": "max-age=60",
    }.items():
        reply = shell.page(assets, response, path)
        assert (reply.status, reply.body, reply.headers["cache-control"]) == (404, b"nothing here", control)


def test_no_cdn_is_told_otherwise(assets: Assets, shell: Shell) -> None:
    """What speaks to a CDN alone overrides ``no-store`` for it, so it goes."""
    loud = {"CDN-Cache-Control": "max-age=60", "Surrogate-Control": "max-age=60", "X-Accel-Expires": "60"}
    response = Response([b"none"], {"Content-Type": "text/plain", **loud}, status=404)
    response.headers = {name.lower(): value for name, value in response.headers.items()}
    headers = shell.page(assets, response, "/static/new.202601011200.jpg").headers
    assert headers == {"content-type": "text/plain", "cache-control": "no-store"}


def test_other_paths_are_the_applications(assets: Assets, shell: Shell) -> None:
    """What is no asset goes to the application; alone, the files answer 404 that nobody keeps."""
    for path in ("/", "/static", "/static/", "/static/nope.png", "/static/../secret", "/staticlogo.png"):
        assert shell.page(assets, Response([b"the app"]), path).body == b"the app"
        reply = shell.file(assets, path)
        assert (reply.status, reply.headers["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize(
    "path", ["/static/..%2Fsecret.txt", "/static/%2e%2e/secret.txt", "/static//etc/passwd"]
)
def test_no_path_leads_out(assets: Assets, shell: Shell, path: str) -> None:
    """Files are looked up by name, never opened by path."""
    (Path(assets.folder).parent / "secret.txt").write_text("secret")
    assert shell.file(assets, path).status == 404


def test_head(assets: Assets, fetch: Any) -> None:
    """The same headers as for GET, and no body."""
    for path in (
        f"/static/{asset(assets, 'movie.mp4').hashed_name}",
        "/static/app.js",
        "/static/app.000000000000.js",
    ):
        got, head = fetch(assets, path), fetch(assets, path, method="HEAD")
        assert head.body == b""
        assert (head.status, head.headers) == (got.status, got.headers)


def test_other_methods(assets: Assets, fetch: Any) -> None:
    """A file can only be read."""
    reply = fetch(assets, "/static/app.js", method="POST")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("tags", ["{}", "W/{}", '"other", {}', "*"])
def test_not_modified(assets: Assets, fetch: Any, tags: str) -> None:
    """A browser that has these bytes is told so, by the weak comparison that RFC 9110 asks for."""
    etag = fetch(assets, "/static/app.js").headers["etag"]
    for path in ("/static/app.js", f"/static/{asset(assets, 'app.js').hashed_name}"):
        reply = fetch(assets, path, headers={"if-none-match": tags.format(etag)})
        assert (reply.status, reply.body) == (304, b"")
        assert reply.headers["etag"] == etag
        assert "content-length" not in reply.headers
        assert "max-age" in reply.headers["cache-control"]


def test_modified(assets: Assets, fetch: Any) -> None:
    """Another tag, or a date alone, is answered with the file."""
    for headers in ({"if-none-match": '"other"'}, {"if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"}):
        assert fetch(assets, "/static/app.js", headers=headers).status == 200


@pytest.mark.parametrize(
    ("value", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("Bytes = 10 - 19", 10, 20),
        ("bytes=1000-", 1000, 1024),
        ("bytes=1000-99999", 1000, 1024),
        ("bytes=-24", 1000, 1024),
        ("bytes=-99999", 0, 1024),
    ],
)
def test_one_range(assets: Assets, fetch: Any, value: str, start: int, stop: int) -> None:
    """A part of a file: 206 with just those bytes, for seeking in a video."""
    for path in ("/static/movie.mp4", f"/static/{asset(assets, 'movie.mp4').hashed_name}"):
        reply = fetch(assets, path, headers={"range": value})
        assert (reply.status, reply.body) == (206, MOVIE[start:stop])
        assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/1024"
        assert reply.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("value", ["bytes=1024-", "bytes=99999-100000", "bytes=-0"])
def test_a_range_beyond_the_file(assets: Assets, fetch: Any, value: str) -> None:
    """416 with the file's length."""
    reply = fetch(assets, "/static/movie.mp4", headers={"range": value})
    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */1024")


@pytest.mark.parametrize(
    "value", ["bytes=0-1,5-6", "bytes=5-1", "bytes=-", "bytes=a-b", "items=0-1", "bytes=" + "9" * 5000 + "-"]
)
def test_ranges_that_are_not_served(assets: Assets, fetch: Any, value: str) -> None:
    """Several ranges, or none that makes sense: the whole file."""
    assert fetch(assets, "/static/movie.mp4", headers={"range": value}).body == MOVIE


def test_if_range(assets: Assets, fetch: Any) -> None:
    """A download goes on only while the file is the same; else it starts afresh."""
    etag = fetch(assets, "/static/movie.mp4").headers["etag"]
    for value, status in (
        (etag, 206),
        ('"old"', 200),
        (f"W/{etag}", 200),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 200),
    ):
        assert (
            fetch(assets, "/static/movie.mp4", headers={"range": "bytes=0-1", "if-range": value}).status
            == status
        )


def test_a_range_of_a_rendered_style_sheet(assets: Assets, fetch: Any) -> None:
    """Ranges count in the bytes that are served."""
    site = asset(assets, "css/site.css")
    assert site.rendered is not None
    reply = fetch(assets, f"/static/{site.hashed_name}", headers={"range": "bytes=3-9"})
    assert reply.body == site.rendered[3:10]


def test_a_file_changed_since_start_up(folder: Path, tmp_path: Path, fetch: Any) -> None:
    """A file that is not what its hash says is sent as it is, and kept by no cache; a lost one is 404."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assets = Assets(copy)
    (copy / "app.js").write_bytes(b"edited\n")
    os.utime(copy / "app.js", ns=(1, 1))
    (copy / "css" / "site.css").write_bytes(b"edited too\n")
    (copy / "logo.png").unlink()
    for name, content in {"app.js": b"edited\n", "css/site.css": b"edited too\n"}.items():
        for path in (f"/static/{name}", assets.url(name)):
            reply = fetch(assets, path, headers={"if-none-match": "*"})
            assert (reply.status, reply.body, reply.headers["cache-control"]) == (200, content, "no-store")
            assert "etag" not in reply.headers
            assert fetch(assets, path, method="HEAD").body == b""
    assert fetch(assets, assets.url("logo.png")).status == 404


def replace(path: Path, content: bytes) -> None:
    """Another file of the same name and time, as an archive that is unpacked has it."""
    times = path.stat().st_mtime_ns
    other = path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(times, times))
    other.replace(path)


def test_a_file_replaced_by_one_of_its_size_and_time(tmp_path: Path, fetch: Any) -> None:
    """Reproducible builds and ``rsync -t`` keep times: what came later is kept by no cache even so."""
    assets = Assets(write_tree(tmp_path, {"logo.png": b"AAAA"}))
    replace(tmp_path / "logo.png", b"BBBB")
    for path in ("/static/logo.png", assets.url("logo.png")):
        reply = fetch(assets, path)
        assert (reply.body, reply.headers["cache-control"]) == (b"BBBB", "no-store")


def test_a_file_replaced_between_look_and_open(tmp_path: Path) -> None:
    """The headers are those of the file that was opened."""
    assets = Assets(write_tree(tmp_path, {"logo.png": b"AAAA"}))
    served = Served(asset(assets, "logo.png"), hashed=True, lifetime=FOREVER)
    request = Request(served, room=Room(), method="GET", headers=[])
    assert (b"cache-control", b"public, max-age=31536000, immutable") in request.answer().headers
    replace(tmp_path / "logo.png", b"BBBBB")
    answer, file = request.open()
    assert file is not None
    with file:
        assert (answer.stop, file.read()) == (5, b"BBBBB")
    assert (b"cache-control", b"no-store") in answer.headers


@pytest.mark.parametrize("link", ["static/img/logo.png", "static/img"])
def test_a_link_that_comes_later_publishes_nothing(tmp_path: Path, fetch: Any, link: str) -> None:
    """What a start would refuse is not found when it takes an asset's place at run time."""
    write_tree(
        tmp_path, {"static/img/logo.png": b"a logo", "secret": b"secret", "secrets/logo.png": b"secret"}
    )
    assets = Assets(tmp_path / "static")
    (tmp_path / link).rename(tmp_path / "gone")
    (tmp_path / link).symlink_to(tmp_path / ("secret" if link.endswith("png") else "secrets"))
    for path in ("/static/img/logo.png", assets.url("img/logo.png")):
        assert fetch(assets, path).status == 404


def test_a_pipe_in_place_of_a_file(tmp_path: Path, fetch: Any) -> None:
    """It is not found, and nobody waits for what it has to say."""
    assets = Assets(write_tree(tmp_path, {"logo.png": b"a logo"}))
    (tmp_path / "logo.png").unlink()
    os.mkfifo(tmp_path / "logo.png")
    assert fetch(assets, "/static/logo.png").status == 404


def test_a_large_file_comes_in_chunks(tmp_path: Path, shell: Shell) -> None:
    """A file is read piece by piece, a range of it too."""
    content = bytes(range(251)) * 4_000
    assets = Assets(write_tree(tmp_path, {"big.bin": content, "empty.txt": b""}))
    reply = shell.file(assets, "/static/big.bin")
    assert reply.body == content
    assert len(reply.chunks) > 3
    assert max(map(len, reply.chunks)) <= 256 * 1024
    part = shell.file(assets, "/static/big.bin", headers={"range": "bytes=100-900000"})
    assert part.body == content[100:900_001]
    assert shell.file(assets, "/static/empty.txt").body == b""


async def test_pathsend(assets: Assets) -> None:
    """A server that sends files by itself gets the path; parts and rendered style sheets are sent by us."""
    extensions = {"http.response.pathsend": {}}
    app = AsgiFiles(assets)
    whole = await call_asgi(app, "/static/movie.mp4", extensions=extensions)
    assert whole.messages[1] == {
        "type": "http.response.pathsend",
        "path": str(asset(assets, "movie.mp4").path),
    }
    part = await call_asgi(app, "/static/movie.mp4", extensions=extensions, headers={"range": "bytes=0-1"})
    assert part.body == MOVIE[:2]
    site = asset(assets, "css/site.css")
    rendered = await call_asgi(app, f"/static/{site.hashed_name}", extensions=extensions)
    assert rendered.body == site.rendered


@pytest.mark.parametrize("gone", [True, False])
async def test_a_client_that_hangs_up(tmp_path: Path, gone: bool) -> None:
    """No more of a file is read and sent for a client that is gone; one that waits gets all of it."""
    assets = Assets(write_tree(tmp_path, {"movie.mp4": bytes(2_000_000)}))
    sent: list[bytes] = []

    async def receive() -> Any:
        if not sent:
            return {"type": "http.request", "body": b""}
        if not gone:
            await Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            sent.append(message["body"])

    scope = {"type": "http", "method": "GET", "path": "/static/movie.mp4", "headers": []}
    await AsgiFiles(assets)(scope, receive, send)
    assert (len(sent) == 1) is gone
    assert (sum(map(len, sent)) == 2_000_000) is not gone


async def test_files_under_other_scopes(assets: Assets) -> None:
    """As an application of its own it goes through start-up and shutdown, and declines websockets."""
    incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await AsgiFiles(assets)({"type": "lifespan"}, receive, send)
    await AsgiFiles(assets)({"type": "websocket"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


def test_a_file_that_is_written_into_while_it_is_read(tmp_path: Path) -> None:
    """New bytes of the same length do not go out as the old ones, for ever: nobody is to keep them."""
    asset = Assets(write_tree(tmp_path, FILES)).get("logo.png")  # a folder that no other test reads
    assert isinstance(asset, AssetFile)
    new = bytes(reversed(FILES["logo.png"]))

    class Writing(Room):
        def is_for(self, representation: Representation) -> bool:
            if asset.path.read_bytes() != new:
                asset.path.write_bytes(new)  # behind the first look, before the reading
                os.utime(asset.path, (1, 1))  # a clock may not tick in between
            return super().is_for(representation)

    served = Served(asset, hashed=True, lifetime=FOREVER)
    answer, file = Request(served, room=Writing(), method="GET", headers=[]).open()
    assert file is not None
    with file:
        assert file.read() == new
    assert (b"cache-control", b"no-store") in answer.headers
    assert served.plain.body is None


@pytest.mark.parametrize("headers", [{}, {"range": "bytes=1000-"}], ids=["whole", "range"])
@pytest.mark.parametrize("change", ["written", "cut", "renamed"])
async def test_a_large_file_that_changes_while_it_is_sent(
    tmp_path: Path, shell: Shell, change: str, headers: dict[str, str]
) -> None:
    """One that is written into breaks off before its end: nobody keeps a mixture under a hash. One that
    another has taken the place of comes as it was.
    """
    old, new = bytes(600_000), b"new" * 200_000
    assets = Assets(write_tree(tmp_path / "static", {"movie.mp4": old}))
    movie, got = tmp_path / "static/movie.mp4", b""

    def take(piece: bytes) -> None:
        nonlocal got
        if piece and not got:
            target = tmp_path / "movie.mp4" if change == "renamed" else movie
            target.write_bytes(new if change != "cut" else b"new")
            os.utime(target, (1, 1))  # a clock may not tick in between
            target.replace(movie)
        got += piece

    async def send(message: Any) -> None:
        take(message.get("body", b""))

    async def fetch() -> None:
        path = assets.url("movie.mp4")
        if shell.name == "asgi":
            coded = [(name.encode(), value.encode()) for name, value in headers.items()]
            scope = {"type": "http", "method": "GET", "path": path, "headers": coded}
            await AsgiFiles(assets)(scope, Event().wait, send)
            return
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path}
        environ |= {"HTTP_" + name.upper(): value for name, value in headers.items()}
        body: Any = WsgiFiles(assets)(environ, lambda status, headers: None)
        with closing(body):
            for piece in body:
                take(piece)

    if change == "renamed":
        await fetch()
        assert got == (old[1000:] if headers else old)
    else:
        with pytest.raises(RuntimeError, match=r"movie\.mp4 was written into while it was sent"):
            await fetch()
        assert 0 < len(got) < 590_000
