"""What a script asks for, read with certainty or not at all."""

import json
import subprocess
from pathlib import Path

import django
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.cdn import _javascript
from scalekit.cdn._javascript import Doubt
from tests.servers.node import node, npm_package


def found(source: str) -> list[str]:
    """Each specifier with its kind."""
    text = source.encode()
    return [f"{one.kind} {text[one.start : one.stop].decode()}" for one in _javascript.read(text).specifiers]


@pytest.mark.parametrize(
    ("source", "specifiers"),
    [
        ("import './a.js'", ["import ./a.js"]),
        ('import"./a.js"', ["import ./a.js"]),
        ("import a from './a.js'", ["import ./a.js"]),
        ("import {a} from './a.js';import b from'./b.js'", ["import ./a.js", "import ./b.js"]),
        ("import{a as b,c}from'./a.js'", ["import ./a.js"]),
        ("import a, {b} from './a.js'", ["import ./a.js"]),
        ("import a, * as b from './a.js'", ["import ./a.js"]),
        ("import*as b from './a.js'", ["import ./a.js"]),
        ("import from from './a.js'", ["import ./a.js"]),
        ("import {from} from './a.js'", ["import ./a.js"]),
        ("import { 'from \"x\"' as y } from './a.js'", ["import ./a.js"]),
        ("import defer * as ns from './a.js'", ["import ./a.js"]),
        ("import data from './a.json' with { type: 'json' }", ["import ./a.json"]),
        ("import /* 'x' */ a /**/ from // 'y'\n './a.js'", ["import ./a.js"]),
        ("\nimport ünü from './a.js'", ["import ./a.js"]),
        ("let x\nimport './a.js'", ["import ./a.js"]),
        ("export * from './a.js'", ["import ./a.js"]),
        ("export * as b from './a.js'", ["import ./a.js"]),
        ("export*from'./a.js'", ["import ./a.js"]),
        ("export {a, b as c, default as 'd e'} from './a.js'", ["import ./a.js"]),
        ("export {a}; './b.js'", []),
        ("export default from; './b.js'", []),
        ("export const a = 'from'", []),
        ("import('./a.js')", ["dynamic ./a.js"]),
        ("f(() => import(/* webpackChunkName: 'x' */ './a.js'), 1)", ["dynamic ./a.js"]),
        ("import('./a.json', {with: {type: 'json'}})", ["dynamic ./a.json"]),
        ("[...import('./a.js')]", ["dynamic ./a.js"]),
        ("{ { import('./a.js') } }", ["dynamic ./a.js"]),
        ("import('./a.js' + b)", []),
        ("new URL('./a.png', import.meta.url)", ["url ./a.png"]),
        ("new  URL ( './a.png' , import . meta . url ,) ", ["url ./a.png"]),
        ("URL('./a.png', import.meta.url)", []),
        ("new URL('./a.png', base)", []),
        ("new URL('./a.png', import.meta.url + '/x')", []),
        ("new x.URL('./a.png', import.meta.url)", []),
        ("#!/usr/bin/env node\nimport './a.js'", ["import ./a.js"]),
        # What only looks like one.
        ("// import './a.js'", []),
        ("/* import './a.js' */", []),
        ("'import \"./a.js\"'", []),
        ("`import './a.js'`", []),
        ("x.import('./a.js')", []),
        ("x?.import('./a.js')", []),
        ("x . /**/ import('./a.js')", []),
        ("x = {import: './a.js'}", []),
        ("class A { #import() { this.#import('./a.js') } }", []),
        ("reimport('./a.js'); import_('./b.js'); $import('./c.js')", []),
        ("/import '.\\/a.js'/.test(x); import('./b.js')", ["dynamic ./b.js"]),
        # Templates.
        ("`${import('./a.js')}`", ["dynamic ./a.js"]),
        ("`${`${{a: import('./a.js')}}`}` + import('./b.js')", ["dynamic ./a.js", "dynamic ./b.js"]),
        ("`\\`${'`'}` + import('./a.js')", ["dynamic ./a.js"]),
        ("`$ \\${import('./a.js')}`", []),
        ("x = `a${b}c${d}` / import('./e.js') / 1", ["dynamic ./e.js"]),
        # A regular expression or a division.
        ("a = b / c; import('./a.js'); d = e / f", ["dynamic ./a.js"]),
        ("a = /['\"]/; import('./a.js')", ["dynamic ./a.js"]),
        ("a = /[/'\"]/g; import('./a.js')", ["dynamic ./a.js"]),
        ("a = b++ / c; import('./a.js'); '/'", ["dynamic ./a.js"]),
        ("if (a) /'/.test(b); import('./a.js')", ["dynamic ./a.js"]),
        ("while (a) /'/.test(b); import('./a.js')", ["dynamic ./a.js"]),
        ("f(a) / 2; import('./a.js'); 3 / g(b)", ["dynamic ./a.js"]),
        ("return /'/; import('./a.js')", ["dynamic ./a.js"]),
        ("x.return / 2; import('./a.js'); y / 1", ["dynamic ./a.js"]),
        ("typeof /'/; import('./a.js')", ["dynamic ./a.js"]),
        ("if (a) {} /'/.test(b); import('./a.js')", ["dynamic ./a.js"]),
        ("x = {} / 2; import('./a.js'); y / 1", ["dynamic ./a.js"]),
        ("a = /x/ / /'/.y; import('./a.js')", ["dynamic ./a.js"]),
        ("a / /'/.y; import('./a.js')", ["dynamic ./a.js"]),
        ("a[0] / b; import('./a.js'); c / d", ["dynamic ./a.js"]),
        ("a = 1. / 2; import('./a.js'); 3 / 4", ["dynamic ./a.js"]),
        ("a = b // '\n/ c; import('./a.js'); d / e", ["dynamic ./a.js"]),
        ("a = // x\n/'/; import('./a.js')", ["dynamic ./a.js"]),
        ("() => /'/; import('./a.js')", ["dynamic ./a.js"]),
        ("a => {} \n/'/.test(b); import('./a.js')", ["dynamic ./a.js"]),
    ],
)  # fmt: skip
def test_specifiers(source: str, specifiers: list[str]) -> None:
    """Imports in all their spellings are found; what only looks like one in a text is not."""
    assert found(source) == specifiers


@pytest.mark.parametrize(
    "source",
    [
        "import './a.js",
        "import {a from './a.js'",
        "import a",
        "import('./a.js'",
        "x = '\nimport './a.js'",
        "`import './a.js'",
        "/* `${ */ import './a.js'; `${",
        "f(import('./a.js')}",
        "import './a.js'; )",
        "f(); { import './a.js' }",
        "f(); { export * from './a.js' }",
        "import './a.js'; x = /[/",
        "import.source('./a.js')",
        "import './a.js'\0",
        "// \u2028 import './a.js'",
        "{}\n/x'/; import('./a.js')",
        "a: {}\n/import('.\\/a.js')/.test(x)",
        "switch (x) { case 1: {} /import('.\\/a.js')/.test(x) }",
    ],
)
def test_doubt(source: str) -> None:
    """Who cannot be read with certainty is not read at all."""
    with pytest.raises(Doubt):
        found(source)


@pytest.mark.parametrize(
    ("source", "bound"),
    [
        ("import(name)", True),
        ("import(`./${name}.js`)", True),
        ("import('./a.js')", False),
        ("class A { import(name) { return 1 } }", False),
        ("new Worker(new URL('./w.js', import.meta.url))", True),
        ("new SharedWorker ('/w.js')", True),
        ("importScripts('x.js')", True),
        ("x = 'no Worker here'", False),
    ],
)
def test_what_binds_a_script_to_its_host(source: str, bound: bool) -> None:
    """An import of what is computed, and a worker, are noted."""
    assert _javascript.read(source.encode()).bound is bound


PIECES = [
    "import ", "'./a.js'", "export * from ", "{", "}", "(", ")", "/", "`", "${", "'", '"', "\\", "\n", "//",
    "/*", "*/", "x", ".", "=", ";", "new URL(", "import.meta.url", "import(", "1", "=>", "return ", "[", "]",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_any_text_is_read_or_doubted(pieces: list[str]) -> None:
    """No text breaks the reader, and what it finds are texts in quotes, in order, none inside of another."""
    source = "".join(["import './first.js';", *pieces]).encode()
    try:
        specifiers = _javascript.read(source).specifiers
    except Doubt as doubt:
        assert 0 <= doubt.at <= len(source)  # noqa: PT017
        return
    end = 0
    for one in specifiers:
        assert end < one.start <= one.stop
        assert source[one.start - 1] == source[one.stop]
        assert source[one.stop] in b"'\""
        end = one.stop


DIFFERENTIAL = """
import { readFileSync } from "node:fs";
import { init, parse } from "MODULE";
await init;
const found = JSON.parse(readFileSync(0, "utf8")).map((path) => {
  const source = readFileSync(path, "latin1");
  return parse(source)[0].flatMap((one) => {
    const quoted = source[one.start] === "'" || source[one.start] === '"';
    const literal = quoted && one.specifier !== undefined;
    if (one.type === "dynamic") return literal ? [[one.start + 1, one.end - 1]] : [];
    return one.type === "static" || one.type === "reexport-star" ? [[one.start, one.end]] : [];
  });
});
console.log(JSON.stringify(found));
"""


def test_real_scripts_are_read_as_by_es_module_lexer() -> None:
    """In Django's admin, minified ones among them, and in npm's modules, both find the same specifiers."""
    lexer = npm_package("es-module-lexer", "3.0.5")
    modules = npm_package("lit", "3.3.1")
    paths = sorted((Path(django.__file__).parent / "contrib" / "admin" / "static").rglob("*.js"))
    paths += sorted(modules.rglob("*.js")) + sorted(lexer.rglob("*.js"))
    script = DIFFERENTIAL.replace("MODULE", (lexer / "node_modules/es-module-lexer/dist/lexer.js").as_uri())
    done = subprocess.run(
        [node(), "--input-type=module", "-e", script],
        input=json.dumps([str(path) for path in paths]),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    theirs = json.loads(done.stdout)
    ours = [
        [[one.start, one.stop] for one in _javascript.read(path.read_bytes()).specifiers if one.kind != "url"]
        for path in paths
    ]
    assert [(path, sorted(one)) for path, one in zip(paths, ours, strict=True)] == [
        (path, sorted(one)) for path, one in zip(paths, theirs, strict=True)
    ]
    assert sum(map(len, ours)) > 100
