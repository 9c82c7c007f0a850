"""Names, URLs and contents of assets."""

import hashlib
import os
import re
import shutil
import sys
import threading
from base64 import b64encode
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from scalekit.cdn import Assets, asgi, wsgi
from scalekit.errors import AssetNotFound, ConfigurationError
from tests.cdn.conftest import CDN, FILES, write_tree


def test_a_url_has_the_content_hash(assets: Assets) -> None:
    """The URL is the CDN, the path, and the name with the first 12 digits of the content's SHA-256."""
    digest = hashlib.sha256(FILES["logo.png"]).hexdigest()[:12]
    assert assets.url("logo.png") == f"{CDN}/static/logo.{digest}.png"


def test_without_a_cdn_urls_are_paths(folder: Path) -> None:
    """No CDN: the application's own path, hashed all the same."""
    assert re.fullmatch(r"/assets/logo\.[0-9a-f]{12}\.png", Assets(folder, url="/assets/").url("logo.png"))


def test_urls_are_percent_encoded(assets: Assets) -> None:
    """A name may have spaces, letters beyond ASCII and ampersands."""
    assert "/static/img/photo%20one." in assets.url("img/photo one.jpg")
    assert "/static/img/b%C3%BCcher." in assets.url("img/bücher.png")
    assert "/static/img/a%26b." in assets.url("img/a&b.png")


@pytest.mark.parametrize("name", ["app.min.js", "LICENSE", "dir.d/file", ".hidden/x"])
def test_where_the_hash_stands(tmp_path: Path, name: str) -> None:
    """Before the last extension of the file's own name; at the end without one."""
    write_tree(tmp_path, {name: b"x"})
    assets = Assets(tmp_path)
    if name.startswith("."):
        assert len(assets) == 0
    else:
        digits = hashlib.sha256(b"x").hexdigest()[:12]
        expected = {
            "app.min.js": f"app.min.{digits}.js",
            "LICENSE": f"LICENSE.{digits}",
            "dir.d/file": f"dir.d/file.{digits}",
        }
        assert assets.url(name) == "/static/" + expected[name]


def test_two_hosts_agree(tmp_path: Path) -> None:
    """The same files, made at another time in another order and place, have the same URLs and version."""
    first = write_tree(tmp_path / "one", FILES)
    second = write_tree(tmp_path / "elsewhere" / "two", dict(reversed(FILES.items())))
    for path in second.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    one, two = Assets(first, cdn=CDN), Assets(second, cdn=CDN)
    assert [one.url(asset.name) for asset in one] == [two.url(asset.name) for asset in two]
    assert [asset.rendered_digest for asset in one] == [asset.rendered_digest for asset in two]
    assert one.version == two.version


def test_the_version_follows_contents_and_cdn(folder: Path, tmp_path: Path) -> None:
    """Another byte in any file, or another CDN, is another version."""
    changed = Path(shutil.copytree(folder, tmp_path / "copy"))
    (changed / "logo.png").write_bytes(b"another logo")
    versions = {Assets(folder).version, Assets(changed).version, Assets(folder, cdn=CDN).version}
    assert len(versions) == 3


def test_an_unknown_name_is_an_error_that_names_it(assets: Assets) -> None:
    """A misspelled asset fails where it is written, with its name and the folder."""
    with pytest.raises(AssetNotFound, match=r"lgoo\.png") as caught:
        assets.url("lgoo.png")
    assert (caught.value.path, caught.value.close) == ("lgoo.png", "logo.png")
    message = str(caught.value)
    assert str(assets.folder) in message
    assert "did you mean 'logo.png'? (the folder is read once, at start-up" in message
    assert isinstance(caught.value, LookupError)


@pytest.mark.parametrize("shell", [asgi, wsgi])
@pytest.mark.parametrize("given", ["static", None, Assets])
def test_shells_want_assets(shell: Any, given: Any) -> None:
    """The name of a folder is not yet its assets: an error when the middleware is made, not on a request."""
    with pytest.raises(ConfigurationError, match=r"assets= must be .* such as Assets\('static'\), not "):
        shell.AssetMiddleware(print, assets=given)
    with pytest.raises(ConfigurationError, match="assets= must be"):
        shell.AssetFiles(given)


@pytest.mark.parametrize("name", ["zzzzzzzzzzzz", None])
def test_a_name_like_no_other_is_an_error_without_a_suggestion(assets: Assets, name: Any) -> None:
    """Where nothing is similar nothing is suggested, whatever was asked for."""
    with pytest.raises(AssetNotFound, match="check the spelling") as caught:
        assets.url(name)
    assert caught.value.close is None


def test_dot_files_are_left_out(tmp_path: Path) -> None:
    """``.env`` and ``.git`` are nobody's assets."""
    write_tree(tmp_path, {".env": b"SECRET", ".git/config": b"", "css/.draft.css": b"", "logo.png": b"x"})
    assert [asset.name for asset in Assets(tmp_path)] == ["logo.png"]


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    """A link to a file or folder inside is an asset of its own name, and a circle of links ends."""
    write_tree(tmp_path, {"v2/logo.png": b"x"})
    (tmp_path / "logo.png").symlink_to("v2/logo.png")
    (tmp_path / "latest").symlink_to("v2")
    (tmp_path / "v2" / "again").symlink_to(tmp_path)
    names = [asset.name for asset in Assets(tmp_path)]
    assert {"logo.png", "latest/logo.png", "v2/logo.png"} <= set(names)
    assert len(names) < 20


@pytest.mark.parametrize("target", ["../secret.txt", "/etc/passwd", ".."])
def test_links_that_lead_out_are_refused(tmp_path: Path, target: str) -> None:
    """A link out of the folder would publish what nobody meant to: start-up fails and names it."""
    (tmp_path / "secret.txt").write_bytes(b"secret")
    write_tree(tmp_path / "static", {"logo.png": b"x"})
    (tmp_path / "static" / "leak").symlink_to(target)
    with pytest.raises(ConfigurationError, match="leak"):
        Assets(tmp_path / "static")


def test_a_broken_link_is_refused(tmp_path: Path) -> None:
    """A link to nothing, or to itself, is a mistake that shows at start-up."""
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(ConfigurationError, match="gone"):
        Assets(tmp_path)
    (tmp_path / "gone.png").unlink()
    (tmp_path / "round.png").symlink_to("round.png")
    with pytest.raises(ConfigurationError, match="round"):
        Assets(tmp_path)


def test_a_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 could not stand in a URL."""
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb"):
        pass
    with pytest.raises(ConfigurationError, match="UTF-8"):
        Assets(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "static/"}, "begins and ends"),
        ({"url": "/static"}, "begins and ends"),
        ({"url": "https://cdn.example.com/"}, "cdn="),
        ({"url": "/st atic/"}, "letters"),
        ({"cdn": "cdn.example.com"}, "address"),
        ({"cdn": "ftp://cdn.example.com"}, "address"),
        ({"cdn": "https://[2001:db8::1"}, "address"),
        ({"cdn": "https://user:hunter2@cdn.example.com"}, "alone"),
        ({"cdn": "https://cdn.example.com/?v=1"}, "query"),
        ({"cdn": "https://cdn.example.com/#x"}, "fragment"),
        ({"cdn": "https://cdn.example.com/'onload="}, "characters"),
        ({"cdn": ""}, "cdn= must be an address such as .*, or None, not an empty one"),
        ({"cdn": 3}, "cdn= must be an address such as .* not int"),
        ({"max_age": "60"}, "max_age= must be a whole number, at least 0, not str; it is in seconds"),
        ({"max_age": -1}, "max_age= must be .* not -1"),
    ],
)
def test_wrong_options_fail_at_start_up(folder: Path, options: dict[str, Any], words: str) -> None:
    """A wrong option is an error that says what to change; a password in it is not repeated."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        Assets(folder, **options)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_no_folder_fails_at_start_up(tmp_path: Path, kind: str) -> None:
    """A folder that is not there, or is a file, is an error that names it."""
    path = tmp_path / "nothing"
    if kind == "file":
        path.write_bytes(b"")
    with pytest.raises(ConfigurationError, match="nothing"):
        Assets(path)


def test_a_cdn_with_a_path_and_a_slash_at_its_end(folder: Path) -> None:
    """The slash is not doubled, and a path stays in front."""
    assert (
        Assets(folder, cdn="https://cdn.example.com/")
        .url("logo.png")
        .startswith("https://cdn.example.com/static/")
    )
    assert (
        Assets(folder, cdn="//cdn.example.com/shop")
        .url("logo.png")
        .startswith("//cdn.example.com/shop/static/")
    )


@pytest.mark.parametrize("reload", [False, True])
@pytest.mark.parametrize(
    ("url", "cdn", "cure"),
    [
        ("/static/", "https://cdn.example.com/static/", "https://cdn.example.com"),
        ("/static/", "//cdn.example.com/static", "//cdn.example.com"),
        ("/static/", "https://cdn.example.com/shop/static/", "https://cdn.example.com/shop"),
        ("/shop/static/", "https://cdn.example.com/shop/static/", "https://cdn.example.com"),
    ],
)
def test_a_path_that_is_given_twice(folder: Path, url: str, cdn: str, cure: str, reload: bool) -> None:
    """It would be twice in every URL: both options are named, and the address to give, which works."""
    with pytest.raises(ConfigurationError) as caught:
        Assets(folder, url=url, cdn=cdn, reload=reload)
    assert f"cdn={cdn!r} ends with url={url!r}" in str(caught.value)
    assert str(caught.value).endswith(f"give cdn={cure!r}")
    assets = Assets(folder, url=url, cdn=cure, reload=reload)
    assert assets.url("logo.png").startswith(cdn.rstrip("/") + "/logo.")
    with pytest.raises(ConfigurationError, match="ends with url="):
        assets.at(cdn)


@pytest.mark.parametrize(
    ("url", "cdn"),
    [
        ("/", "https://cdn.example.com/"),
        ("/", "https://cdn.example.com/shop/"),
        ("/static/", "https://cdn.example.com/static/shop"),
        ("/static/", "https://cdn.example.com/non-static"),
        ("/shop/static/", "https://cdn.example.com/static"),
    ],
)
def test_a_path_that_is_not_given_twice(folder: Path, url: str, cdn: str) -> None:
    """A CDN may have a path of its own, whatever it is called."""
    assert Assets(folder, url=url, cdn=cdn).url("logo.png").startswith(cdn.rstrip("/") + url)


def test_membership_and_iteration(assets: Assets) -> None:
    """An ``Assets`` is a collection of its files."""
    assert "logo.png" in assets
    assert "nope.png" not in assets
    assert len(assets) == len(FILES)
    assert {asset.name for asset in assets} == set(FILES)
    assert "11 files" in repr(assets)


def test_other_threads_at_every_step_to_a_new_cdn(folder: Path) -> None:
    """With more CDNs than are kept ready, threads add and take away; none of them fails by the others."""
    assets = Assets(folder)
    numbers, chance = count(), Random(1)

    def another() -> str:
        return f"https://c{next(numbers)}.example"

    def step(frame: Any, event: str, arg: object) -> Any:
        if event == "opcode":  # where another thread may have taken one away, or added one
            if len(assets._views) > 60 and chance.random() < 0.5:
                assets._views.pop(min(assets._views, key=str))
            else:
                assets.at(another())
        return step

    def trace(frame: Any, event: str, arg: object) -> Any:
        if frame.f_code is not Assets.at.__code__:
            return None
        frame.f_trace_opcodes = True
        return step

    for _ in range(64):
        assets.at(another())
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 asks for it here, too
    sys.settrace(trace)
    try:
        views = [assets.at(f"https://eu{number}.example") for number in range(20)]
    finally:
        sys.settrace(before)
    assert [view.cdn for view in views] == [f"https://eu{number}.example" for number in range(20)]
    assert next(numbers) > 100


def test_counts_from_several_threads(folder: Path) -> None:
    """No increment is lost between threads."""
    counts = Assets(folder).counts
    threads = [threading.Thread(target=lambda: [counts.add("pages") for _ in range(2_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.as_dict() == {"pages": 8_000}


def test_another_cdn(folder: Path) -> None:
    """The same files can stand at several CDNs; each view has its own version, all share the counts."""
    assets = Assets(folder, cdn="https://one.example")
    other = assets.at("https://two.example/shop/")
    assert other.url("logo.png").startswith("https://two.example/shop/static/logo.")
    assert assets.url("logo.png").startswith("https://one.example/static/logo.")
    assert assets.at(None).url("logo.png").startswith("/static/logo.")
    assert assets.at("https://two.example/shop/") is other
    assert assets.at("https://one.example") is assets
    assert len({assets.version, other.version, assets.at(None).version}) == 3
    other.counts.add("pages")
    assert assets.counts["pages"] == 1
    with pytest.raises(ConfigurationError, match="not an address"):
        assets.at("two.example")
    for number in range(100):
        assets.at(f"https://{number}.example")
    assert assets.at("https://two.example/shop/") is not other  # not all are kept


def test_integrity(folder: Path) -> None:
    """It is that of the bytes under the hashed name, a style sheet's renamed references included."""
    assets = Assets(folder)
    for asset in assets:
        served = asset.path.read_bytes() if asset.rendered is None else asset.rendered
        assert asset.integrity == "sha256-" + b64encode(sha256(served).digest()).decode()
