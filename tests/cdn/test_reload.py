"""Assets with ``reload=True``: what a developer changes is seen without a restart."""

import json
import logging
import os
import shutil
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from scalekit.cdn import Assets, HtmlRewriter, Manifest
from scalekit.cdn.build import build
from scalekit.errors import AssetNotFound, ConfigurationError
from tests.cdn.conftest import CDN, write_tree
from tests.cdn.drivers import Response, Shell
from tests.servers.waiting import wait_until

FILES = {
    "logo.png": b"a logo",
    "app.js": b"console.log('shop')\n",
    "css/site.css": b'@import "base.css";\nbody { background: url(../logo.png) }\n',
    "css/base.css": b"h1 { color: teal }\n",
}


@pytest.fixture
def static(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "static", FILES)


def becomes(url: Callable[[str], str], name: str, old: str) -> str:
    """The next URL of an asset."""
    wait_until(lambda: url(name) != old, what=f"another URL of {name}")
    return url(name)


def digits(content: bytes) -> str:
    return sha256(content).hexdigest()[:12]


def test_an_edited_file_has_a_new_url(static: Path) -> None:
    """So has a style sheet that imports it, and nothing else; the bytes are those under the new name."""
    assets = Assets(static, reload=True)
    before = {asset.name: assets.url(asset.name) for asset in assets}
    (static / "css/base.css").write_bytes(b"h1 { color: navy }\n")
    base = becomes(assets.url, "css/base.css", before["css/base.css"])
    assert digits(b"h1 { color: navy }\n") in base
    assert assets.url("css/site.css") != before["css/site.css"]
    sheet = assets.get("css/site.css")
    assert sheet is not None
    assert base.rpartition("/")[2].encode() in getattr(sheet, "rendered", b"")
    assert {name for name, url in before.items() if assets.url(name) != url} == {
        "css/base.css",
        "css/site.css",
    }


@pytest.mark.parametrize("again", [b"b logo", b"another logo"], ids=["as long", "longer"])
def test_an_edit_that_leaves_the_times_as_they_were(static: Path, again: bytes) -> None:
    """A tool that sets the content's time, and a length that is the same, hide nothing."""
    assets, path = Assets(static, reload=True), static / "logo.png"
    before, status = assets.url("logo.png"), path.stat()
    path.write_bytes(again)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digits(again) in becomes(assets.url, "logo.png", before)


def test_two_edits_within_one_tick_of_the_clock(static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was changed just now is read again, whatever its stamp says."""
    monkeypatch.setattr("scalekit.cdn._folder.stamp", lambda status: (6, 1, 2**62))
    assets = Assets(static, reload=True)
    before = assets.url("logo.png")
    (static / "logo.png").write_bytes(b"b logo")
    becomes(assets.url, "logo.png", before)


def test_a_file_that_was_not_changed_is_read_once(static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a thousand files asks for their times, and reads those that were edited."""
    monkeypatch.setattr("scalekit.cdn._folder.is_settled", lambda mark, now: True)
    assets = Assets(static, reload=True)
    before = assets.url("app.js")
    write_tree(static, {"new.png": b"new", "app.js": b"edited()"})
    opened: list[str] = []
    real_open = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a, **k: opened.append(self.name) or real_open(self, *a, **k)
    )
    becomes(assets.url, "app.js", before)
    assert "new.png" in assets
    assert set(opened) == {"app.js", "new.png"}


def test_files_that_come_and_go(static: Path) -> None:
    """A new one is found, also in a new folder; one that was deleted is an error that names what is close."""
    assets = Assets(static, reload=True)
    with pytest.raises(AssetNotFound):
        assets.url("img/new.png")
    write_tree(static, {"img/new.png": b"new"})
    wait_until(lambda: "img/new.png" in assets, what="the new file")
    assert digits(b"new") in assets.url("img/new.png")
    shutil.rmtree(static / "img")
    wait_until(lambda: "img/new.png" not in assets, what="its end")
    with pytest.raises(AssetNotFound) as raised:
        assets.url("img/new.png")
    assert "restart" not in str(raised.value)
    assert len(assets) == len(FILES)


def test_views_and_bound_methods_follow(static: Path) -> None:
    """``globals["asset"] = assets.at(None).url`` is set once, at start-up; a snapshot for one page stays."""
    assets = Assets(static, cdn=CDN, reload=True)
    asset, elsewhere, page = assets.at(None).url, assets.at("https://eu.example.net/"), assets.now()
    before, version = asset("logo.png"), assets.version
    (static / "logo.png").write_bytes(b"another")
    path = becomes(asset, "logo.png", before)
    assert path.startswith("/static/logo.")
    assert assets.url("logo.png") == CDN + path
    assert elsewhere.url("logo.png") == "https://eu.example.net" + path
    assert assets.version != version == page.version
    assert page.url("logo.png") == CDN + before
    assert elsewhere.counts is assets.counts
    rewriter = HtmlRewriter(assets)
    assert rewriter.rewrite(b'<img src="/static/logo.png">') == f'<img src="{CDN}{path}">'.encode()


def test_pages_and_files(static: Path, shell: Shell) -> None:
    """Pages have the new URL and another entity tag; under it are new bytes, which nobody keeps."""
    assets = Assets(static, reload=True)

    def page() -> Any:
        response = Response([b'<link rel="stylesheet" href="/static/css/site.css">'])
        response.headers["etag"] = '"page"'
        return shell.page(assets, response)

    first = page()
    sheet = assets.url("css/site.css")
    assert sheet.encode() in first.body
    for path in (sheet, "/static/css/site.css"):
        reply = shell.file(assets, path)
        assert (reply.status, reply.headers["cache-control"]) == (200, "no-cache")
        again = shell.file(assets, path, headers={"if-none-match": reply.headers["etag"]})
        assert again.status == 304

    (static / "css/base.css").write_bytes(b"h1 { color: navy }\n")
    wait_until(lambda: page().body != first.body, what="another page")
    second = page()
    assert second.headers["etag"] != first.headers["etag"]
    new = second.body.partition(b'href="')[2].partition(b'"')[0].decode()
    assert digits(b"h1 { color: navy }\n").encode() in shell.file(assets, new).body
    # The page that is in the browser goes on working, and a name that no file has is no asset.
    old = shell.file(assets, sheet)
    assert (old.status, old.headers["cache-control"]) == (200, "no-store")
    assert old.body == shell.file(assets, new).body
    # All that is said of the assets is said of these, whichever there were.
    assert assets.served is assets.now().served
    assert (assets.served.value("missing"), assets.served.value("found") > 3) == (1, True)

    base = assets.url("css/base.css")
    (static / "css/base.css").unlink()
    for path in (base, "/static/css/base.css"):
        wait_until(lambda path=path: shell.file(assets, path).status == 404, what="its end")
        gone = shell.file(assets, path)
        assert gone.headers["cache-control"] == "no-store"


def test_by_default_nobody_looks(static: Path) -> None:
    """Without ``reload`` the files are those of the start, and the class is the plain one."""
    assets = Assets(static)
    (static / "logo.png").write_bytes(b"another")
    (static / "new.png").write_bytes(b"new")
    assert type(assets) is Assets
    assert assets.now() is assets
    assert digits(b"a logo") in assets.url("logo.png")
    assert "new.png" not in assets


def test_what_cannot_be_used_leaves_them_as_they_were(static: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A link out of the folder, or no folder, is told once; when that is over, they follow again."""
    assets = Assets(static, reload=True)
    before = assets.url("logo.png")
    (static / "passwd").symlink_to("/etc/passwd")
    (static / "logo.png").write_bytes(b"another")
    with caplog.at_level(logging.WARNING, "scalekit.cdn"):
        wait_until(lambda: assets.url("logo.png") and caplog.records, what="a warning")
        for _ in range(3):
            wait_until(lambda: _looked(assets), what="another look")
    assert [record.getMessage() for record in caplog.records] == [
        "the assets stay as they were: asset 'passwd' is a link that leads out of the asset folder; copy the "
        "file in or remove it"
    ]
    assert assets.url("logo.png") == before
    (static / "passwd").unlink()
    assert digits(b"another") in becomes(assets.url, "logo.png", before)


def _looked(assets: Any) -> bool:
    due = assets._watch._due
    assets.now()
    return bool(assets._watch._due != due)


def test_from_the_start_they_have_to_be_usable(tmp_path: Path) -> None:
    """A mistake is told at start-up, as without it; what was read already cannot be read again."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Assets(tmp_path / "nowhere", reload=True)
    with pytest.raises(ConfigurationError, match="is no JSON"):
        Assets.from_manifest(write_tree(tmp_path, {"m.json": b'{"a'}) / "m.json", reload=True)
    with pytest.raises(ConfigurationError, match="give its path"):
        Assets.from_manifest(Manifest([]), reload=True)

    class Ours(Assets):
        pass

    with pytest.raises(ConfigurationError, match="not for Ours"):
        Ours(tmp_path, reload=True)


def vite(out: Path, content: bytes) -> bytes:
    """What ``vite build`` writes, but for its manifest."""
    name = f"assets/main-{digits(content)[:8]}.js"
    style = f"assets/main-{digits(content)[:8]}.css"
    write_tree(out, {name: content, style: b""})
    entry = {"file": name, "src": "src/main.js", "isEntry": True, "css": [style]}
    return json.dumps({"src/main.js": entry}).encode()


def test_a_manifest_that_is_written_again(tmp_path: Path, shell: Shell) -> None:
    """As by ``vite build --watch``: half a manifest, or one without its files, leaves the last one."""
    out = tmp_path / "dist"
    manifest = write_tree(out, {"manifest.json": vite(out, b"one()")}) / "manifest.json"
    assets = Assets.from_manifest(manifest, folder=out, reload=True)
    first = assets.url("src/main.js")
    text = vite(out, b"two()")
    for broken in (text[:20], b"", text.replace(b"main-", b"gone-")):
        manifest.write_bytes(broken)
        wait_until(lambda: _looked(assets), what="a look")
        assert assets.url("src/main.js") == first
        assert shell.file(assets, first).body == b"one()"
    manifest.write_bytes(text)
    second = becomes(assets.url, "src/main.js", first)
    reply = shell.file(assets, second)
    assert (reply.body, reply.headers["cache-control"]) == (b"two()", "no-cache")
    assert assets.styles("src/main.js") == [second.removesuffix("js") + "css"]
    # Where the old file is gone, the page that is in the browser gets the new one.
    (out / first.removeprefix("/static/")).unlink()
    assert shell.file(assets, first).body == b"two()"
    # It empties its folder before it writes again.
    shutil.rmtree(out)
    wait_until(lambda: _looked(assets), what="a look")
    assert assets.url("src/main.js") == second
    assert shell.file(assets, second).status == 404
    write_tree(out, {"manifest.json": vite(out, b"three()")})
    third = becomes(assets.url, "src/main.js", second)
    assert shell.file(assets, third).body == b"three()"


def test_a_build_that_is_run_again(tmp_path: Path, static: Path, shell: Shell) -> None:
    """``scalekit assets build`` beside a running server: new names, and nobody keeps either release."""
    build(static, tmp_path / "dist")
    assets = Assets.from_manifest(tmp_path / "dist/manifest.json", folder=tmp_path / "dist", reload=True)
    first = assets.url("app.js")
    (static / "app.js").write_bytes(b"again()")
    build(static, tmp_path / "dist")
    second = becomes(assets.url, "app.js", first)
    for url, body in ((first, FILES["app.js"]), (second, b"again()")):
        reply = shell.file(assets, url)
        assert (reply.status, reply.body, reply.headers["cache-control"]) == (200, body, "no-cache")


def test_a_manifest_without_its_folder(tmp_path: Path, shell: Shell) -> None:
    """Of files that another server has, as a tool's own development server, only the names are known."""
    out = tmp_path / "dist"
    manifest = write_tree(out, {"manifest.json": vite(out, b"one()")}) / "manifest.json"
    assets = Assets.from_manifest(manifest, cdn="http://localhost:5173", reload=True)
    first = assets.url("src/main.js")
    assert first.startswith("http://localhost:5173/static/")
    manifest.write_bytes(vite(out, b"two()"))
    becomes(assets.url, "src/main.js", first)
    assert shell.file(assets, "/static/src/main.js").status == 404


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork(static: Path) -> None:
    """As by ``gunicorn --preload``: a child looks for itself, even if a thread of its parent was looking."""
    assets: Any = Assets(static, reload=True)
    before = assets.url("logo.png")
    (static / "logo.png").write_bytes(b"another logo")
    with assets._watch._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends one that waits for a lock which nobody gives back
            try:
                becomes(assets.url, "logo.png", before)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
    assert status == 0
