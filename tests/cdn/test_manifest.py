"""Manifests: ours, and those of Vite, webpack and Django."""

import json
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.cdn import AssetFile, Assets, Entry, Manifest
from scalekit.cdn.asgi import AssetFiles, AssetMiddleware
from scalekit.errors import AssetNotFound, ConfigurationError
from tests.cdn import manifests
from tests.cdn.conftest import CDN, FILES, write_tree
from tests.cdn.drivers import call_asgi

OURS: dict[str, Any] = {
    "format": "scalekit.assets",
    "version": 1,
    "assets": {
        "a.css": {
            "file": "a.0123456789ab.css",
            "type": "text/css; charset=utf-8",
            "sha256": "ab" * 32,
            "size": 5,
            "encodings": ["br", "gzip"],
        }
    },
}


def read(text: str) -> Manifest:
    return Manifest.from_bytes(text.encode(), source="'m.json'")


def build(assets: Assets, folder: Path) -> Path:
    """The hashed files of ``assets`` and their manifest, written the simplest way."""
    for asset in assets:
        assert isinstance(asset, AssetFile)
        body = asset.path.read_bytes() if asset.rendered is None else asset.rendered
        write_tree(folder, {asset.hashed_name: body})
    (folder / "manifest.json").write_bytes(assets.manifest().to_bytes())
    return folder


def test_two_hosts_write_the_same_bytes(tmp_path: Path) -> None:
    """The same tree, written in another order, place and time, gives the same manifest."""
    one = write_tree(tmp_path / "one", FILES)
    two = write_tree(tmp_path / "else" / "two", dict(reversed(FILES.items())))
    for path in two.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    first = Assets(one, cdn=CDN).manifest().to_bytes()
    assert first == Assets(two, url="/static/").manifest().to_bytes()
    assert Manifest.from_bytes(first, source="it").to_bytes() == first


@given(st.lists(st.from_regex(r"[a-zü]{1,3}(/[a-z .%&]{1,3})?", fullmatch=True), unique=True, max_size=5))
def test_what_is_written_is_read(names: list[str]) -> None:
    """Every name that an asset may have comes back as it was, with all that is known of it."""
    entries = [
        Entry(
            name=name,
            hashed_name=f"{name}.x",
            content_type="text/css; charset=utf-8",
            digest="0f" * 32,
            size=number,
            immutable=number != 1,
            verbatim=number != 2,
            module=number == 3,
            encodings=("br", "gzip", "zstd")[:number],
        )
        for number, name in enumerate(names)
    ]
    entries = [entry for entry in entries if "." not in entry.name.split("/")]
    again = Manifest.from_bytes(Manifest(entries).to_bytes(), source="it")
    assert dict(again) == {entry.name: entry for entry in entries}


def test_assets_of_a_built_folder(folder: Path, tmp_path: Path) -> None:
    """From the hashed files and their manifest come the same URLs and digests as from the folder."""
    direct = Assets(folder, cdn=CDN)
    out = build(direct, tmp_path)
    built = Assets.from_manifest(out / "manifest.json", folder=out, cdn=CDN)
    assert [built.url(name) for name in FILES] == [direct.url(name) for name in FILES]
    assert [asset.integrity for asset in built] == [asset.integrity for asset in direct]
    assert [asset.verbatim for asset in built] == [asset.verbatim for asset in direct]
    assert built.version == direct.version
    assert built.links == direct.links
    assert built.manifest().to_bytes() == direct.manifest().to_bytes()


async def test_a_built_folder_is_served(folder: Path, tmp_path: Path) -> None:
    """By the hashed name for ever, by the plain one for a minute; both are the hashed file."""
    out = build(Assets(folder), tmp_path)
    built = Assets.from_manifest(out / "manifest.json", folder=out)
    reply = await call_asgi(AssetFiles(built), built.url("css/site.css"))
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert b"base." in reply.body
    plain = await call_asgi(AssetFiles(built), "/static/css/site.css")
    assert plain.headers["cache-control"] == "public, max-age=60"
    assert plain.body == reply.body


async def test_assets_that_only_the_cdn_has(folder: Path) -> None:
    """Without a folder pages point at the CDN, and requests for the files are the application's."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]}
        )
        await send({"type": "http.response.body", "body": b'<img src="/static/logo.png">'})

    assets = Assets.from_manifest(Assets(folder).manifest(), cdn=CDN)
    wrapped = AssetMiddleware(app, assets=assets)
    url = assets.url("logo.png")
    assert url.startswith(f"{CDN}/static/logo.")
    assert (await call_asgi(wrapped, "/")).body == f'<img src="{url}">'.encode()
    for path in ("/static/logo.png", url.removeprefix(CDN), "/static/logo.000000000000.png"):
        assert (await call_asgi(wrapped, path)).body == f'<img src="{url}">'.encode()
    logo = assets.get("logo.png")
    assert logo is not None
    assert not isinstance(logo, AssetFile)
    assert logo.rendered_digest == sha256(FILES["logo.png"]).hexdigest()
    assert "11 files" in repr(assets)
    with pytest.raises(AssetNotFound, match=r"no asset 'lgoo\.png'"):
        assets.url("lgoo.png")


def test_vite() -> None:
    """Sources, also those outside of the project, and style sheets that only an entry names."""
    read_manifest = read(manifests.VITE)
    assert {name: entry.hashed_name for name, entry in read_manifest.items()} == {
        "../shared/s.js": "assets/s-Cbqx7KMT.js",
        "src/lazy.js": "assets/lazy-TW8v3MbB.js",
        "src/logo.png": "assets/logo-xWHicxd2.png",
        "src/main.js": "assets/main-Dtynq_yW.js",
        "assets/lazy-B5e_rcF1.css": "assets/lazy-B5e_rcF1.css",
        "assets/main-BQ7h75YV.css": "assets/main-BQ7h75YV.css",
    }
    assert all(entry.immutable for entry in read_manifest.values())
    assert read_manifest["src/main.js"].content_type == "text/javascript; charset=utf-8"


def test_styles_of_vite() -> None:
    """A script's style sheets after those of what it imports, each once; through our own manifest, too."""
    whole = {
        "a.js": {
            "file": "1.js",
            "isEntry": True,
            "css": ["a-1.css", "s-1.css"],
            "imports": ["_b.js", "_c.js"],
        },
        "_b.js": {"file": "b-1.js", "css": ["b-1.css"], "imports": ["_d.js", "a.js", "_gone.js"]},
        "_c.js": {"file": "c-1.js", "css": ["c-1.css", "b-1.css"], "imports": ["_d.js"]},
        "_d.js": {"file": "d-1.js", "css": ["d-1.css"]},
        "later.js": {"file": "later-1.js", "isDynamicEntry": True, "css": ["later-1.css"]},
        "plain.js": {"file": "plain-1.js", "isEntry": True},
        "s.css": {"file": "s-1.css", "isEntry": True},
    }
    found = read(json.dumps(whole))
    for manifest in (found, read(found.to_bytes().decode()), Assets.from_manifest(found).manifest()):
        assets = Assets.from_manifest(manifest, cdn=CDN)
        names = ["d-1.css", "b-1.css", "c-1.css", "a-1.css", "s-1.css"]
        assert assets.styles("a.js") == [f"{CDN}/static/{name}" for name in names]
        assert assets.at(None).styles("later.js") == ["/static/later-1.css"]
        assert assets.styles("plain.js") == assets.styles("s.css") == []
    with pytest.raises(AssetNotFound, match=r"no asset 'b\.js'"):
        assets.styles("b.js")


@pytest.mark.parametrize("origin", ["", "https://cdn.example", "//cdn.example"])
def test_webpack_manifest_plugin(origin: str) -> None:
    """Values begin with the public path, at any host; a file without a hash is not immutable."""
    found = read(manifests.WEBPACK_MANIFEST_PLUGIN.replace("/static/", f"{origin}/static/"))
    assert {name: (entry.hashed_name, entry.immutable) for name, entry in found.items()} == {
        "main.js": ("main.617fb145be0fa5c9fc53.js", True),
        "153.js": ("153.926da6e986c4e0608c18.js", True),
        "img/logo.png": ("img/b1e113a30498c5d20c87.png", True),
        "favicon.ico": ("favicon.ico", False),
    }


def test_webpack_assets_manifest() -> None:
    """Objects with the integrity, believed while nobody has the file; entry points say nothing new."""
    found = read(manifests.WEBPACK_ASSETS_MANIFEST)
    assert set(found) == {"153.926da6e986c4e0608c18.js", "img/logo.png", "main.js"}
    assert all(entry.immutable for entry in found.values())
    assets = Assets.from_manifest(found)
    main, logo = assets.get("main.js"), assets.get("img/logo.png")
    assert main is not None
    assert logo is not None
    assert main.integrity == "sha256-zG5OheNo8xS5epmjRBV3S/oGj0CcDlud/ptRfBIDY7E="
    assert logo.integrity is None


def test_webpack_files_in_an_object() -> None:
    """``files`` beside ``entrypoints``, as Create React App writes them."""
    found = read(manifests.WEBPACK_FILES)
    assert {name: entry.hashed_name for name, entry in found.items()} == {
        "main.js": "js/main.3f2a9c01.js",
        "index.html": "index.html",
    }


def test_django() -> None:
    """What ``collectstatic`` wrote."""
    found = read(manifests.DJANGO)
    assert {name: entry.hashed_name for name, entry in found.items()} == {
        "css/a.css": "css/a.1ff1cb9857c1.css",
        "logo.png": "logo.401b30e3b8b5.png",
    }
    with pytest.raises(ConfigurationError, match=r"version '2\.0'.*newer"):
        read(manifests.DJANGO.replace("1.1", "2.0"))


async def test_a_folder_of_vite(tmp_path: Path) -> None:
    """Its files are served for ever, found by their sources' names, and their integrity is computed."""
    found = read(manifests.VITE)
    write_tree(tmp_path, {entry.hashed_name: entry.name.encode() for entry in found.values()})
    (tmp_path / ".vite").mkdir()
    (tmp_path / ".vite" / "manifest.json").write_text(manifests.VITE)
    assets = Assets.from_manifest(tmp_path / ".vite" / "manifest.json", folder=tmp_path)
    assert assets.url("src/main.js") == "/static/assets/main-Dtynq_yW.js"
    for name in ("src/main.js", "assets/main-BQ7h75YV.css"):
        reply = await call_asgi(AssetFiles(assets), assets.url(name))
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert reply.body == name.encode()
        asset = assets.get(name)
        assert asset is not None
        assert asset.rendered_digest == sha256(name.encode()).hexdigest()


async def test_what_has_no_hash_is_not_kept_for_ever(tmp_path: Path) -> None:
    """A file that is called as its source is may change under its name, and so is kept for a minute."""
    write_tree(tmp_path, {"favicon.ico": b"1", "dist/main.js": b"2"})
    found = read('{"favicon.ico": "favicon.ico", "src/main.js": "dist/main.js"}')
    assets = Assets.from_manifest(found, folder=tmp_path)
    for name in ("favicon.ico", "src/main.js"):
        reply = await call_asgi(AssetFiles(assets), assets.url(name))
        assert reply.headers["cache-control"] == "public, max-age=60"


def changed(**facts: Any) -> str:
    entry = {**OURS["assets"]["a.css"], **facts}
    return json.dumps(
        {**OURS, "assets": {"a.css": {name: fact for name, fact in entry.items() if fact != ""}}}
    )


def named(name: str) -> str:
    return json.dumps({**OURS, "assets": {name: OURS["assets"]["a.css"]}})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON.*scalekit assets build"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("\xff", "no JSON"),
        ("[]", "no JSON object"),
        ('{"a": 1, "a": 2}', "'a' stands in one object twice"),
        (json.dumps({**OURS, "version": 2}), "version 2, and this scalekit reads 1.*same scalekit"),
        (json.dumps({**OURS, "version": True}), "version True"),
        (json.dumps({**OURS, "version": "1"}), "version '1'"),
        (json.dumps({**OURS, "assets": []}), "no assets"),
        (named("../a.css"), r"entry '\.\./a\.css' has a segment.*build it again"),
        (named("/etc/passwd"), "entry '/etc/passwd' is absolute"),
        (named("a//b"), "segment that is empty"),
        (named("a/./b"), "segment"),
        (named(""), "entry '' is empty"),
        (named("a\0b"), "control character"),
        (named("a\\b"), "backslash"),
        (named("\ud800"), "surrogate"),
        (changed(file="../../passwd"), r"entry 'a\.css' has a 'file' '\.\./\.\./passwd' that has a segment"),
        (changed(file="/etc/passwd"), "that is absolute"),
        (changed(file="a\0"), "control character"),
        (changed(file=1), "no 'file' or no 'type'"),
        (changed(file=""), "no 'file'"),
        (changed(type="text/css\r\nSet-Cookie: a=b"), "no content type"),
        (changed(sha256="AB" * 32), "'sha256' that is none"),
        (changed(sha256=None), "'sha256' that is none"),
        (changed(size=-1), "'size' that is none"),
        (changed(size=True), "'size' that is none"),
        (changed(size=1.5), "'size' that is none"),
        (changed(module=1), "neither true nor false"),
        (changed(encodings=["rot13"]), "'encodings' other than br, gzip, zstd"),
        (changed(encodings=[["br"]]), "'encodings' other"),
        (changed(encodings="br"), "'encodings' other"),
        (changed(styles=["b.css"]), "'styles' that are no names of assets"),
        (changed(styles="a.css"), "'styles' that are no names"),
        (changed(styles=[["a.css"]]), "'styles' that are no names"),
        (json.dumps({**OURS, "assets": {"a": 1}}), "no JSON object"),
        ('{"a.js": {"file": "../a.js"}}', r"entry 'a\.js' has a name '\.\./a\.js' that.*vite build"),
        ('{"a.js": {"file": 1}}', "entry 'a.js' names no file"),
        ('{"../a/../b.js": {"file": "a.js"}}', "segment"),
        ('{"/a.js": {"file": "a.js"}}', "absolute"),
        ('{"a.js": {"file": "a.js", "css": ["/b.css"]}}', "absolute"),
        ('{"a.js": "/assets/a.js"}', "absolute; set webpack's publicPath to url='/static/'"),
        ('{"/app/a.js": "a.js"}', "'/app/a.js' that is absolute.*basePath"),
        ('{"a.js": "a.js?3f2a9c01"}', "query or fragment"),
        ('{"a.js": "https://cdn.example/x/../../etc/passwd"}', "absolute"),
        ('{"a": 1, "b": []}', "neither scalekit's nor"),
        ('{"paths": {"a": "../a"}, "version": "1.1"}', "collectstatic"),
        ('{"paths": {"a": 1}, "version": "1.1"}', "names no file"),
        ('{"paths": {"../a": "a"}, "version": "1.0"}', "segment"),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_used(text: str, words: str) -> None:
    """No start with a manifest that is broken, unknown or hostile: the error names file, entry and cure."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        Manifest.from_bytes(text.encode("utf-8", "surrogatepass"), source="'m.json'")
    assert "'m.json'" in str(caught.value)


KEYS = ["file", "type", "src", "css", "paths", "version", "files", "assets", "format", "a.js"]
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    """Whatever a manifest holds, it is read or refused with an error of ours."""
    with suppress(ConfigurationError):
        found = Manifest.from_bytes(json.dumps(value).encode(), source="'m.json'")
        assert all(entry.hashed_name for entry in found.values())


@pytest.mark.parametrize("built", [False, True])
def test_a_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: bool) -> None:
    """Of a relative path it is said where it begins: a server may start anywhere."""
    monkeypatch.chdir(tmp_path)

    def assets(folder: Path) -> Assets:
        return Assets.from_manifest(read(manifests.DJANGO), folder=folder) if built else Assets(folder)

    def look(folder: Path) -> str:
        with pytest.raises(ConfigurationError) as refused:
            assets(folder)
        return str(refused.value)

    missing = "nowhere' cannot be read: No such file or directory"
    assert look(Path("nowhere")).endswith(f"'{missing}; a relative path begins at {str(tmp_path)!r}")
    assert look(tmp_path / "nowhere").endswith(missing)


def test_a_missing_manifest(tmp_path: Path) -> None:
    """A path without a manifest is an error that says what to do."""
    with pytest.raises(ConfigurationError, match=r"nope\.json.*No such file.*build the assets first"):
        Assets.from_manifest(tmp_path / "nope.json")
    with pytest.raises(ConfigurationError, match=r"asset folder .*nowhere"):
        Assets.from_manifest(read(manifests.DJANGO), folder=tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="begins and ends"):
        Assets.from_manifest(read(manifests.DJANGO), url="static")


@pytest.mark.parametrize("fault", ["missing", "cut", "folder", "link out", "parent out", "dangling", "round"])
def test_files_that_are_not_what_the_manifest_says(folder: Path, tmp_path: Path, fault: str) -> None:
    """A server does not start with half of a release, or with a link that leads out of it."""
    out = build(Assets(folder), tmp_path / "out")
    outside = write_tree(tmp_path / "outside", {"secret": b"secret"})
    logo = next(out.glob("img/b*.png"))
    (logo.unlink if fault != "cut" else logo.touch)()
    if fault == "cut":
        logo.write_bytes(b"b")
    elif fault == "folder":
        logo.mkdir()
    elif fault == "link out":
        logo.symlink_to(outside / "secret")
    elif fault == "dangling":
        logo.symlink_to("nowhere")
    elif fault == "round":
        logo.symlink_to(logo.name)
    elif fault == "parent out":
        (outside / logo.name).write_bytes(FILES["img/bücher.png"])
        for path in (out / "img").iterdir():
            path.rename(outside / path.name)
        (out / "img").rmdir()
        (out / "img").symlink_to(outside)
    with pytest.raises(ConfigurationError, match=r"manifest\.json.*of entry 'img/.*build the assets again"):
        Assets.from_manifest(out / "manifest.json", folder=out)


def test_a_link_inside_the_folder(folder: Path, tmp_path: Path) -> None:
    """Deployments that link their files into place may."""
    out = build(Assets(folder), tmp_path)
    logo = next(out.glob("logo.*.png"))
    logo.rename(out / "blob")
    logo.symlink_to("blob")
    asset = Assets.from_manifest(out / "manifest.json", folder=out).get("logo.png")
    assert isinstance(asset, AssetFile)
    assert asset.path == (out / "blob").resolve()
