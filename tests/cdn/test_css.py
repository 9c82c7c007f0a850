"""References in style sheets."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.cdn import Assets, _references, css
from scalekit.cdn._references import Rename
from tests.cdn.conftest import write_tree


def rewrite(source: bytes, rename: Rename, *, name: str = "a.css") -> bytes:
    found = css.references(source, name=name, prefix="/static/")
    return _references.rewrite(source, found, name=name, rename=rename)


def rewritten(source: str, name: str = "css/site.css") -> str:
    """``source`` with every reference inside ``/static/`` marked."""
    found = rewrite(source.encode(), lambda target: f"{target}.HASH", name=name)
    return found.decode()


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("url(x.png)", "url(x.png.HASH)"),
        ("url( x.png )", "url( x.png.HASH )"),
        ("url('x.png')", "url('x.png.HASH')"),
        ('URL("x.png")', 'URL("x.png.HASH")'),
        ("url(../img/x.png)", "url(../img/x.png.HASH)"),
        ("url(./a/../x.png)", "url(x.png.HASH)"),
        ("url(/static/img/x.png)", "url(../img/x.png.HASH)"),
        ("url(../../static/x.png)", "url(../x.png.HASH)"),
        ("url(font.eot?#iefix)", "url(font.eot.HASH?#iefix)"),
        ("url(sprite.svg#icon)", "url(sprite.svg.HASH#icon)"),
        ("url(a%20b.png)", "url(a%20b.png.HASH)"),
        (r"url(a\ b.png)", "url(a%20b.png.HASH)"),
        (r"url('\78 .png')", "url('x.png.HASH')"),
        ("@import 'base.css';", "@import 'base.css.HASH';"),
        ('@import"base.css" screen;', '@import"base.css.HASH" screen;'),
        ("@import /* first */ url(base.css);", "@import /* first */ url(base.css.HASH);"),
        ("@IMPORT/**/'base.css'", "@IMPORT/**/'base.css.HASH'"),
        ("a{b:url(x.png),url(y.png)}", "a{b:url(x.png.HASH),url(y.png.HASH)}"),
        (r".b\:c-\[\'\'\]{d:url('x.png')}", r".b\:c-\[\'\'\]{d:url('x.png.HASH')}"),
        (r".a\'b{}.c{d:url(x.png)}.e{f:'url(y.png)'}", r".a\'b{}.c{d:url(x.png.HASH)}.e{f:'url(y.png)'}"),
        (r'.a\"b{c:url("x.png")}', r'.a\"b{c:url("x.png.HASH")}'),
        (r".a\/*{b:url(x.png)}/**/", r".a\/*{b:url(x.png.HASH)}/**/"),
    ],
)
def test_references_are_renamed(source: str, result: str) -> None:
    """``url()`` and ``@import`` in all their spellings; the result is relative to the style sheet."""
    assert rewritten(source) == result


@pytest.mark.parametrize(
    "source",
    [
        "url(data:image/png;base64,AAAA)",
        "url(https://fonts.example.com/x.css)",
        "url(//cdn.example.com/x.png)",
        "url(#marker)",
        "url()",
        "url('')",
        "url(../../../elsewhere/x.png)",
        "url(/other/x.png)",
        "/* url(x.png) */",
        "/* unfinished url(x.png)",
        "a{content:'url(x.png)'}",
        "a{content:\"@import 'x.css'\"}",
        "my-url(x.png)",
        "@important 'x.css'",
        "url('x.png",
        "url(x.png",
        "url(a b.png)",
        "url('x.png?\"')",
        r".a\'b{c:'url(x.png)'}",
        r"a{b:\url(x.png)}",
    ],
)
def test_everything_else_stays(source: str) -> None:
    """Other hosts, data, fragments, comments, strings and what is broken are left byte for byte."""
    assert rewritten(source) == source


@given(st.text(alphabet="url('\")\\/*@import x.png;\n\0ü", max_size=60))
def test_any_text_is_read(source: str) -> None:
    """No input breaks the reader, and outside references nothing changes."""
    marked = rewrite(source.encode(), lambda target: None)
    assert marked == source.encode()


def test_bytes_that_are_no_text_pass() -> None:
    """A reference that is not UTF-8 is no asset's; the bytes around it stay."""
    source = b"a{b:url(\xff.png);c:url(x.png)}\xfe"
    found = rewrite(source, lambda target: "y.png")
    assert found == b"a{b:url(\xff.png);c:url(y.png)}\xfe"


def test_a_style_sheet_changes_with_what_it_shows(tmp_path: Path) -> None:
    """Another image means another name for its style sheet, and for those that import that one."""
    tree = {"a.css": b"@import 'b.css'", "b.css": b"b{c:url(x.png)}", "x.png": b"1", "other.css": b""}
    before = Assets(write_tree(tmp_path, tree))
    (tmp_path / "x.png").write_bytes(b"2")
    after = Assets(tmp_path)
    changed = {name for name in tree if before.url(name) != after.url(name)}
    assert changed == {"a.css", "b.css", "x.png"}


def test_a_rendered_style_sheet_names_hashed_files(tmp_path: Path) -> None:
    """What is served under the hashed name refers to hashed names."""
    assets = Assets(write_tree(tmp_path, {"css/a.css": b"b{c:url(../x.png)}", "x.png": b"1"}))
    asset = assets.get("css/a.css")
    image = assets.get("x.png")
    assert asset is not None
    assert image is not None
    assert asset.rendered == f"b{{c:url(../{image.hashed_name})}}".encode()


def test_a_missing_file_is_left_alone(tmp_path: Path) -> None:
    """A reference to a file that is not there stays as it is, and so does the style sheet."""
    assets = Assets(write_tree(tmp_path, {"a.css": b"b{c:url(gone.png)}"}))
    asset = assets.get("a.css")
    assert asset is not None
    assert asset.rendered is None


def test_circular_imports(tmp_path: Path) -> None:
    """Style sheets that import each other are hashed together: a change in one renames all, and only them."""
    tree = {
        "a.css": b"@import 'b.css'; a{x:url(x.png)}",
        "b.css": b"@import 'c.css';",
        "c.css": b"@import 'a.css'; @import 'leaf.css';",
        "self.css": b"@import 'self.css';",
        "leaf.css": b"leaf{}",
        "above.css": b"@import 'a.css';",
        "x.png": b"1",
    }
    before = Assets(write_tree(tmp_path, tree))
    for name, target in {
        "a.css": "b.css",
        "b.css": "c.css",
        "c.css": "a.css",
        "self.css": "self.css",
    }.items():
        asset, refers = before.get(name), before.get(target)
        assert asset is not None
        assert refers is not None
        assert asset.rendered is not None
        assert refers.hashed_name.encode() in asset.rendered
    (tmp_path / "x.png").write_bytes(b"2")
    after = Assets(tmp_path)
    changed = {name for name in tree if before.url(name) != after.url(name)}
    assert changed == {"a.css", "b.css", "c.css", "above.css", "x.png"}
