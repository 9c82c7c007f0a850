"""The import maps of a page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scalekit.cdn import Assets, _import_maps
from scalekit.cdn._targets import Targets
from scalekit.cdn._urls import Base
from tests.cdn.conftest import CDN, write_tree

SCRIPTS = ("app.js", "lib/cart.js", "lib/till.js", "pages/home.js", "pages/old.js")


@pytest.fixture
def targets(tmp_path: Path) -> Targets:
    """Scripts of which all but one may be modules under another URL; ``till.js`` is renamed inside."""
    files = {name: b"x" for name in SCRIPTS}
    files["pages/old.js"] = b"import(name)"
    assets = Assets(write_tree(tmp_path, {**files, "data.json": b"{}"}), cdn=CDN)
    targets = Targets(assets, Base("/shop/", "shop.example"), assets.modules)
    assert targets.modules == {name for name in SCRIPTS if name != "pages/old.js"}
    return targets


def rewritten(text: str, targets: Targets) -> str:
    for begin, stop, new in reversed(list(_import_maps.changes(text, targets))):
        text = text[:begin] + new + text[stop:]
    return text


def test_values_of_imports_change(targets: Targets) -> None:
    """Those that a page loads from the assets' folder; every byte around the URL stays."""
    text = """ {"imports" :\t{ "app": "/static/app.js?v=1",\n"cart":"..\\/static\\/lib\\/cart.js",
        "/static/app.js": "https://shop.example/static/lib/till.js#x",
        "bare": "static/app.js", "old": "/static/pages/old.js", "data": "/static/data.json",
        "lib/": "/static/lib/", "none": null, "gone": "/static/gone.js", "list": ["/static/app.js"],
        "far": "https://other.example/static/app.js", "a\\"b{": "/static/app.js" } } """
    url = targets.assets.url
    expected = text.replace('"/static/app.js?v=1', f'"{url("app.js")}?v=1')
    expected = expected.replace('"a\\"b{": "/static/app.js"', f'"a\\"b{{": "{url("app.js")}"')
    expected = expected.replace("..\\/static\\/lib\\/cart.js", url("lib/cart.js"))
    expected = expected.replace("https://shop.example/static/lib/till.js", url("lib/till.js"))
    assert rewritten(text, targets) == expected
    json.loads(expected)


def test_scopes_follow_their_scripts(targets: Targets) -> None:
    """A script's own by its URL, a folder's when all of its scripts move; without a CDN folders stay."""
    text = """{"scopes": {"/static/lib/": {"x": "/static/app.js"}, "/static/pages/": {"x": "/static/app.js"},
        "/static/app.js": {"x": "/static/lib/cart.js"}, "/else/": {"/static/app.js": "./app.js"}}}"""
    url = targets.assets.url
    expected = text.replace('"x": "/static/app.js"', f'"x": "{url("app.js")}"')
    expected = expected.replace('"/static/app.js": {"x', f'"{url("app.js")}": {{"x')
    expected = expected.replace('"/static/lib/cart.js"', f'"{url("lib/cart.js")}"')
    assert rewritten(text, targets) == expected.replace('"/static/lib/":', f'"{CDN}/static/lib/":')
    own = Targets(targets.assets.at(None), targets.base, targets.modules)
    assert rewritten(text, own) == expected.replace(CDN, "")


def test_integrity_follows_too(targets: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a script with the same bytes under its hashed name; one whose bytes change stays everywhere."""
    text = """{"imports": {"a": "/static/app.js", "t": "/static/lib/till.js"},
        "integrity": {"/static/app.js": "sha384-x", "/static/lib/till.js": "sha384-y"}}"""
    assets = targets.assets
    both = text.replace("/static/app.js", assets.url("app.js"))
    assert rewritten(text, targets) == both.replace("/static/lib/till.js", assets.url("lib/till.js"))
    till = assets.get("lib/till.js")
    assert till is not None
    monkeypatch.setitem(assets._assets, till.name, replace(till, verbatim=False))
    assert rewritten(text, targets) == both


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"/static/app.js"',
        '{"imports": "/static/app.js"}',
        '{"imports": ["/static/app.js"]}',
        '{"imports": {"a": {"b": "/static/app.js"}}}',
        '{"scopes": {"/": "/static/app.js"}, "integrity": "/static/app.js", "x": {"a": "/static/app.js"}}',
        '{"a": {"imports": {"a": "/static/app.js"}}}',
        '{"imports": {"a": "/static/app.js"}',
        '{"imports": {"a": "/static/app.js"},}',
        '{"imports": {"a": "/static/\\u003capp.js"}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_import_map_stays(targets: Targets, text: str) -> None:
    """Broken JSON, other shapes and other depths mean nothing to a browser."""
    assert rewritten(text, targets) == text
