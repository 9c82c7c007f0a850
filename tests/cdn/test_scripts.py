"""Scripts that ask for others: renamed together, run by a real engine, and known to be movable or not."""

import json
import logging
import subprocess
from pathlib import Path

import pytest

from scalekit.cdn import AssetFile, Assets
from tests.cdn.conftest import CDN, write_tree
from tests.servers.base import ServerMissing
from tests.servers.node import node

GRAPH = {
    "js/main.js": b"""import { a } from "./a.js";
export * from '../lib/index.mjs';
import data from "./data.json" with { type: "json" };
import "bare" /* the import map's */;
import "https://elsewhere.example/x.js";
const lazy = () => import(/* later */ './lazy.js?v=1#x');
const icon = new URL("../img/icon%20one.png", import.meta.url);
// import "./a.js"
//# sourceMappingURL=main.js.map
""",
    "js/a.js": b"import { b } from './b.js'; export const a = () => 'a' + b()",
    "js/b.js": b"import { a } from './a.js'; export const b = () => 'b'; export const both = () => a()",
    "js/lazy.js": b"export default 1",
    "js/data.json": b'{"x": 1}',
    "js/main.js.map": b'{"version": 3}',
    "lib/index.mjs": b'export { one } from "/static/lib/one.js"; export const index = 1',
    "lib/one.js": b"export const one = 1",
    "img/icon one.png": b"icon",
}


def rendered(assets: Assets, name: str) -> str:
    asset = assets.get(name)
    assert isinstance(asset, AssetFile)
    return (asset.path.read_bytes() if asset.rendered is None else asset.rendered).decode()


def hashed(assets: Assets, name: str) -> str:
    """The last segment of its hashed name."""
    return assets.url(name).rpartition("/")[2]


def test_everything_a_script_asks_for_is_renamed(tmp_path: Path) -> None:
    """Static and dynamic imports, URLs and the source map; bare and foreign ones stay, and all else."""
    assets = Assets(write_tree(tmp_path, GRAPH))
    lib = f"../lib/{hashed(assets, 'lib/index.mjs')}"
    expected = GRAPH["js/main.js"].decode()
    for old, new in {
        '"./a.js";\nexport': f'"./{hashed(assets, "js/a.js")}";\nexport',
        "'../lib/index.mjs'": f"'{lib}'",
        "./data.json": f"./{hashed(assets, 'js/data.json')}",
        "./lazy.js": f"./{hashed(assets, 'js/lazy.js')}",
        "../img/icon%20one.png": f"../img/{hashed(assets, 'img/icon one.png')}",
        "=main.js.map": f"={hashed(assets, 'js/main.js.map')}",
    }.items():
        assert old in expected
        expected = expected.replace(old, new)
    assert rendered(assets, "js/main.js") == expected
    assert f'"./{hashed(assets, "lib/one.js")}"' in rendered(assets, "lib/index.mjs")
    assert rendered(assets, "lib/one.js") == GRAPH["lib/one.js"].decode()


def test_a_name_changes_with_all_below_it(tmp_path: Path) -> None:
    """Another byte in a module renames whoever imports it, a circle as one, and nobody else."""
    before = Assets(write_tree(tmp_path, GRAPH))
    (tmp_path / "js" / "b.js").write_bytes(GRAPH["js/b.js"] + b";")
    after = Assets(tmp_path)
    changed = {name for name in GRAPH if before.url(name) != after.url(name)}
    assert changed == {"js/b.js", "js/a.js", "js/main.js"}
    assert hashed(after, "js/b.js") in rendered(after, "js/a.js")
    assert hashed(after, "js/a.js") in rendered(after, "js/b.js")


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs a module of a folder with Node.js; what it printed."""
    try:
        program = node()
    except ServerMissing as missing:
        pytest.skip(str(missing))

    def run(path: Path) -> str:
        (path.parents[0] / "package.json").write_text('{"type": "module"}')
        done = subprocess.run([program, path], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    return run


def test_renamed_modules_run_as_before(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    """Node.js runs the hashed files as it runs the plain ones, each once, circles and dynamic imports too."""
    tree = {
        "main.js": b"""
import { a, count } from "./sub/a.js"; import * as b from './sub/b.js';
import data from "./d.json" with {type: "json"};
import { readFileSync } from "node:fs";
export { a as 'from "./sub/a.js"' } from "./sub/a.js";
const regex = /import "\\.\\/sub\\/a\\.js"/g, half = data.x / 2;
const text = `import './sub/a.js' ${/[`}]/.test("}")}`;
const { late } = await import("./sub/late.js");
const file = readFileSync(new URL('text.txt', import.meta.url), "utf8");
console.log(JSON.stringify([a(), b.b(), late, half, text, regex.source, file, globalThis.loaded]));
""",
        "sub/a.js": b"import { b } from './b.js'; globalThis.loaded = [...globalThis.loaded ?? [], 'a'];"
        b" export const a = () => 'a' + b(1); export const count = 1",
        "sub/b.js": b"import { a } from './a.js'; globalThis.loaded = [...globalThis.loaded ?? [], 'b'];"
        b" export const b = (x) => x ? 'b' : a()",
        "sub/late.js": b"import { a } from '../sub/./a.js'; export const late = 'late ' + a()",
        "d.json": b'{"x": 4}',
        "text.txt": b"a text",
    }
    plain = write_tree(tmp_path / "plain", tree)
    assets = Assets(plain)
    for asset in assets:
        write_tree(tmp_path / "hashed", {asset.hashed_name: rendered(assets, asset.name).encode()})
    before = run(plain / "main.js")
    assert json.loads(before)[-1] == ["b", "a"]
    main = assets.get("main.js")
    assert main is not None
    assert run(tmp_path / "hashed" / main.hashed_name) == before


def test_which_modules_may_be_fetched_from_elsewhere(tmp_path: Path) -> None:
    """Those renamed down to the last file; who computes an import or starts a worker binds its importers."""
    tree = {
        **GRAPH,
        "page.js": b"import './js/a.js'; import './computed.js'",
        "computed.js": b"export const load = (name) => import(`./${name}.js`)",
        "missing.js": b"import './nowhere.js'",
        "outside.js": b"import '/api/config.js'",
        "above.js": b"import '../outside.js'",
        "escaped.js": b"import './js/\\x61.js'",
        "odd.js": b"import './js/a.js'; x = '",
        "worker.js": b"new Worker(new URL('./js/a.js', import.meta.url), {type: 'module'})",
        "asks-for-odd.js": b"export * from './odd.js'",
        "lone.js": b"console.log(1)",
        "site.css": b"",
    }
    assets = Assets(write_tree(tmp_path, tree), cdn=CDN)
    assert assets.modules == {
        "js/main.js", "js/a.js", "js/b.js", "js/lazy.js", "lib/index.mjs", "lib/one.js", "lone.js",
    }  # fmt: skip
    again = Assets.from_manifest(assets.manifest())
    assert again.modules == assets.modules
    assert again.at(CDN).modules == assets.modules


def test_a_doubtful_script_is_served_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is not changed by a byte, logged once with the others and the reason, and counted."""
    source = b"import './a.js'; x = /[/\n"
    write_tree(tmp_path, {"odd.js": source, "a.js": b"1", **{f"odd{n}.js": source for n in range(6)}})
    with caplog.at_level(logging.WARNING, "scalekit.cdn"):
        assets = Assets(tmp_path)
    assert rendered(assets, "odd.js") == source.decode()
    assert assets.counts["doubtful"] == 7
    (record,) = caplog.records
    assert "'odd.js' (a regular expression without end at byte 21)" in record.getMessage()
    assert record.getMessage().endswith("and 2 more")


@pytest.mark.parametrize(
    ("name", "source", "result"),
    [
        ("a.js", "x\n//# sourceMappingURL=m.map", "x\n//# sourceMappingURL=HASHED"),
        ("a.js", "x();//@ sourceMappingURL=m.map\r\n", "x();//@ sourceMappingURL=HASHED\r\n"),
        ("a.css", "x{}\n/*# sourceMappingURL=m.map */\n", "x{}\n/*# sourceMappingURL=HASHED */\n"),
        ("a.css", "x{}/*# sourceMappingURL=m.map*/", "x{}/*# sourceMappingURL=HASHED*/"),
        ("a.js", "//# sourceMappingURL=m.map\nx()", None),
        ("a.js", "x = '//# sourceMappingURL=m.map'", None),
        ("a.js", "//# sourceMappingURL=data:application/json;base64,e30=", None),
        ("a.js", "//# sourceMappingURL=https://maps.example/m.map", None),
        ("a.css", "/*# sourceMappingURL=m.map */ x{}", None),
    ],
)
def test_source_maps(tmp_path: Path, name: str, source: str, result: str | None) -> None:
    """The comment at the end of a script or a style sheet is renamed; what only looks like it is not."""
    assets = Assets(write_tree(tmp_path, {name: source.encode(), "m.map": b"{}"}))
    expected = source if result is None else result.replace("HASHED", hashed(assets, "m.map"))
    assert rendered(assets, name) == expected


def test_a_missing_source_map(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once with who names it, and the comment stays."""
    source = b"x\n//# sourceMappingURL=gone.map"
    write_tree(tmp_path, {"a.js": source, "css/a.css": b"/*# sourceMappingURL=gone.map */"})
    with caplog.at_level(logging.WARNING, "scalekit.cdn"):
        assets = Assets(tmp_path)
    assert rendered(assets, "a.js") == source.decode()
    (record,) = caplog.records
    message = "source maps that are named and not there: 'a.js' (gone.map), 'css/a.css' (css/gone.map)"
    assert record.getMessage() == message


def test_long_chains_and_wide_circles(tmp_path: Path) -> None:
    """A chain of 3,000 imports and a circle of 300 are hashed without recursion, and deterministically."""
    chain = {f"c{n}.js": f"import './c{n + 1}.js'".encode() for n in range(3_000)} | {"c3000.js": b""}
    circle = {f"r{n}.js": f"import './r{(n + 1) % 300}.js'".encode() for n in range(300)}
    one = Assets(write_tree(tmp_path / "one", chain | circle))
    two = Assets(write_tree(tmp_path / "two", dict(reversed((chain | circle).items()))))
    assert [one.url(name) for name in chain | circle] == [two.url(name) for name in chain | circle]
    assert hashed(one, "c3000.js") in rendered(one, "c2999.js")
    assert hashed(one, "r0.js") in rendered(one, "r299.js")
    assert len(one.modules) == 3_301
