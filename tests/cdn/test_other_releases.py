"""Files of releases before and after that of a server."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scalekit.cdn import AssetFile, Assets
from scalekit.cdn import asgi as asgi_shell
from scalekit.cdn import wsgi as wsgi_shell
from scalekit.cdn.build import build
from tests.cdn.conftest import write_tree
from tests.cdn.drivers import Reply, Shell, call_asgi, call_wsgi
from tests.conftest import MakeNginx
from tests.ops.child import PATIENCE
from tests.ops.fleet import uvicorn
from tests.servers import wait_until
from tests.servers.ports import free_port

OLD = {
    "logo.png": b"the old logo",
    "app.js": b"console.log('old')\n" * 50,
    "css/site.css": b"body { background: url(../logo.png) }\n" * 20,
}
NEW = {**OLD, "logo.png": b"the new logo", "app.js": b"console.log('new')\n" * 50}
NEWEST = {**NEW, "app.js": b"console.log('newest')\n" * 50}

Fetch = Callable[..., Reply]


class Dist:
    """A folder that releases are built into."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "dist"

    def build(self, files: dict[str, bytes], *, keep: int = 3) -> Assets:
        build(write_tree(self.home / "static", files), self.path, keep=keep)
        return Assets.from_manifest(self.path / "manifest.json", folder=self.path)


@pytest.fixture
def dist(tmp_path: Path) -> Dist:
    return Dist(tmp_path)


@pytest.fixture
def serve(shell: Shell) -> Callable[[Assets], Fetch]:
    """A server that runs from now on."""

    def begin(assets: Assets) -> Fetch:
        if shell.name == "wsgi":
            wsgi_app = wsgi_shell.AssetFiles(assets)
            return lambda path, **request: call_wsgi(wsgi_app, path, **request)
        asgi_app = asgi_shell.AssetFiles(assets)
        return lambda path, **request: asyncio.run(call_asgi(asgi_app, path, **request))

    return begin


def test_a_file_of_the_release_before(dist: Dist, serve: Callable[[Assets], Fetch]) -> None:
    """A page that was sent before the deployment finds its files: immutable, compressed, with their tags."""
    old = dist.build(OLD)
    before = {name: serve(old)(old.url(name)) for name in OLD}
    get = serve(dist.build(NEW))
    for name, reply in before.items():
        found = get(old.url(name))
        assert (found.status, found.body, found.headers) == (200, reply.body, reply.headers)
        assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    accept = {"accept-encoding": "gzip"}
    compressed = get(old.url("app.js"), headers=accept)
    assert compressed.headers["content-encoding"] == "gzip"
    tag = {"if-none-match": compressed.headers["etag"]}
    assert get(old.url("app.js"), headers={**accept, **tag}).status == 304
    assert get("/static/app.js").body == NEW["app.js"]  # the plain name is the server's own release


def test_a_file_of_a_release_that_came_since(dist: Dist, serve: Callable[[Assets], Fetch]) -> None:
    """Where the new build is copied before servers are started anew, those that still run have its files."""
    get = serve(dist.build(OLD))
    assert get("/static/app.0123456789ab.js").status == 404
    for files in (NEW, NEWEST):
        new = dist.build(files)
        found = get(new.url("app.js"))
        assert (found.status, found.body) == (200, files["app.js"])
    assert get("/static/app.js").headers["cache-control"] != "no-store"


def test_a_file_that_no_release_has_any_more(dist: Dist, serve: Callable[[Assets], Fetch]) -> None:
    """What was pruned is 404, kept by nobody, with CORS: also where it was served a moment ago."""
    old = dist.build(OLD)
    get = serve(dist.build(NEW))
    assert get(old.url("app.js")).status == 200
    dist.build(NEW, keep=1)
    for name in (old.url("app.js"), "/static/app.0123456789ab.js"):
        reply = get(name)
        assert (reply.status, reply.headers["cache-control"]) == (404, "no-store")
        assert reply.headers["access-control-allow-origin"] == "*"


def test_a_file_that_is_not_what_its_release_says(
    dist: Dist, serve: Callable[[Assets], Fetch], caplog: pytest.LogCaptureFixture
) -> None:
    """A copy that was cut short is not served for ever as the whole, and a link leads nowhere."""
    old = dist.build(OLD)
    get = serve(dist.build(NEW))
    for name in ("app.js", "logo.png"):
        asset = old.get(name)
        assert isinstance(asset, AssetFile)
        asset.path.unlink()
        if name == "app.js":
            asset.path.write_bytes(b"cut short")
        else:
            (dist.home / "secret").write_bytes(OLD["logo.png"])
            asset.path.symlink_to(dist.home / "secret")
    with caplog.at_level(logging.WARNING, "scalekit.cdn"):
        assert get(old.url("app.js")).status == get(old.url("logo.png")).status == 404
    assert "has 9 bytes" in caplog.text
    assert "is no file inside of" in caplog.text


def test_a_release_that_cannot_be_read(
    dist: Dist, serve: Callable[[Assets], Fetch], caplog: pytest.LogCaptureFixture
) -> None:
    """It is passed over and logged once; the server's own and the others are served."""
    old = dist.build(OLD)
    get = serve(dist.build(NEW))
    (dist.path / ".scalekit/releases/000009.json").write_text("{")
    with caplog.at_level(logging.WARNING, "scalekit.cdn"):
        for _ in range(3):
            assert get(old.url("app.js")).status == 200
            assert get("/static/app.0123456789ab.js").status == 404
    assert len(caplog.records) == 1
    assert "000009.json" in caplog.text


def test_manifests_are_read_once(
    dist: Dist, serve: Callable[[Assets], Fetch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for names that nobody has makes no server read them again and again."""
    dist.build(OLD)
    get = serve(dist.build(NEW))
    read: list[Any] = []
    load = "scalekit.cdn._other_releases.Manifest.load"
    original = Assets.from_manifest.__globals__["Manifest"].load
    monkeypatch.setattr(load, lambda path, **how: (read.append(Path(path).name), original(path, **how))[1])
    for number in range(5):
        assert get(f"/static/app.{number:012x}.js").status == 404
    assert len(read) == len(set(read)) == 2
    new = dist.build(NEWEST)
    read.clear()
    assert get(new.url("app.js")).status == 200
    assert len(read) == 1


def test_hidden_files_are_not_served(dist: Dist, serve: Callable[[Assets], Fetch]) -> None:
    """What the build keeps for itself is no asset."""
    get = serve(dist.build(OLD))
    for path in ("/static/.scalekit/releases/000001.json", "/static/manifest.json"):
        assert get(path).status == 404


@contextlib.contextmanager
def server(release: str, folder: Path) -> Iterator[int]:
    port = free_port()
    with uvicorn(port, app="tests.cdn.rolling_app:app", DIST=str(folder), RELEASE=release):
        wait_until(lambda: _answers(port), what=f"release {release}", timeout=PATIENCE)
        yield port


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_two_releases_behind_one_balancer(dist: Dist, nginx: MakeNginx) -> None:
    """nginx sends pages and files of either release to servers of both, in turn: no 404, no mixed page."""
    old = dist.build(OLD)
    with server("old", dist.path) as first:
        new = dist.build(NEW)
        with server("new", dist.path) as second:
            balancer = nginx(
                "location / { proxy_pass http://both; proxy_next_upstream off; "
                "add_header X-Server $upstream_addr always; }",
                http=f"upstream both {{ server 127.0.0.1:{first}; server 127.0.0.1:{second}; }}",
            )
            contents = {assets.url(name): None for assets in (old, new) for name in OLD}
            pages: dict[str, set[str]] = {}
            answered: set[tuple[str, str]] = set()
            with httpx.Client(base_url=balancer.url, timeout=PATIENCE) as http:
                for _ in range(4):
                    page = http.get("/").text
                    title, urls = (
                        re.findall(r"<title>(.+)</title>", page)[0],
                        set(re.findall(r'"(/.+?)"', page)),
                    )
                    assert pages.setdefault(title, urls) == urls
                    for url in urls | contents.keys():
                        for _ in range(2):  # from one server, and from the other
                            reply = http.get(url)
                            assert reply.status_code == 200, url
                            assert "immutable" in reply.headers["cache-control"]
                            answered.add((url, reply.headers["x-server"]))
                gone = http.get("/static/app.0123456789ab.js")
            assert pages == {
                title: {assets.url(name) for name in OLD} for title, assets in (("old", old), ("new", new))
            }
            assert len(answered) == 2 * len(contents)  # each file came from either server
            assert (gone.status_code, gone.headers["cache-control"]) == (404, "no-store")
            assert gone.headers["access-control-allow-origin"] == "*"
