"""Pages on their way through both shells: bodies and headers."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scalekit.cdn import Assets, HtmlRewriter
from tests.cdn.drivers import Response, Shell

PAGE = b"""<link rel=stylesheet href=/static/css/site.css>
<a href="/static/logo.png"><img src="/static/logo.png"></a>"""


@pytest.fixture
def assets(folder: Path) -> Assets:
    """With counts of its own."""
    return Assets(folder, cdn="https://cdn.example.net")


def rewritten(assets: Assets, page: bytes = PAGE) -> bytes:
    return HtmlRewriter(assets).rewrite(page)


def pieces(page: bytes, size: int) -> list[bytes]:
    return [page[index : index + size] for index in range(0, len(page), size)]


def test_a_page_in_one_piece(assets: Assets, shell: Shell) -> None:
    """Rewritten, with its new length."""
    reply = shell.page(assets, Response([PAGE]).with_length())
    assert reply.body == rewritten(assets) != PAGE
    assert reply.headers["content-length"] == str(len(reply.body))
    assert assets.counts.as_dict() == {"pages": 1, "urls": 2}


@pytest.mark.parametrize("size", [1, 7, 60])
def test_a_streamed_page(assets: Assets, shell: Shell, size: int) -> None:
    """The same bytes chunk by chunk; a length that was declared is dropped, for nobody knows it yet."""
    reply = shell.page(assets, Response(pieces(PAGE, size)).with_length())
    assert reply.body == rewritten(assets)
    assert "content-length" not in reply.headers
    assert len(reply.chunks) > 1
    assert assets.counts["pages"] == 1


def test_a_stream_without_a_length(assets: Assets, shell: Shell) -> None:
    """What can go out goes out at once: the text before a tag that is still incomplete, too."""
    reply = shell.page(assets, Response([b"<p>now ", b"and <img src=/sta", b"tic/logo.png> then", b" end"]))
    assert b"".join(reply.chunks[:2]) == b"<p>now and "
    assert reply.body == rewritten(assets, b"<p>now and <img src=/static/logo.png> then end")


def test_what_is_cut_off_in_a_tag_still_comes(assets: Assets, shell: Shell) -> None:
    """A page that ends in the middle of a tag loses nothing."""
    assert shell.page(assets, Response([b"<p>", b"<img src=/static/lo"])).body == b"<p><img src=/static/lo"


def test_a_page_without_assets(assets: Assets, shell: Shell) -> None:
    """Nothing to change: the page and its length stay."""
    reply = shell.page(assets, Response([b"<p>nothing here"]).with_length())
    assert (reply.body, reply.headers["content-length"]) == (b"<p>nothing here", "15")


def test_an_empty_page(assets: Assets, shell: Shell) -> None:
    """A redirect's empty body is a page of no length."""
    response = Response(
        [b""], {"content-type": "text/html", "content-length": "0", "location": "/x"}, status=302
    )
    reply = shell.page(assets, response)
    assert (reply.status, reply.body, reply.headers["content-length"]) == (302, b"", "0")


@pytest.mark.parametrize("status", [404, 500])
def test_error_pages_are_pages(assets: Assets, shell: Shell, status: int) -> None:
    """They have style sheets too."""
    assert shell.page(assets, Response([PAGE], status=status)).body == rewritten(assets)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json"},
        {"content-type": "text/plain"},
        {"content-type": "application/xhtml+xml"},
        {"content-type": "text/event-stream"},
        {"x-none": "1", "content-type": "image/svg+xml"},
    ],
)
@pytest.mark.parametrize("asked", [{}, {"if-none-match": '"y"'}], ids=["plain", "conditional"])
def test_what_is_no_page_passes(
    assets: Assets, shell: Shell, headers: dict[str, str], asked: dict[str, str]
) -> None:
    """Other types pass chunk by chunk, with all their headers, and are not counted."""
    response = Response(
        pieces(PAGE, 10), {**headers, "etag": '"x"', "content-digest": "sha-256=:x:"}
    ).with_length()
    reply = shell.page(assets, response, headers=asked)
    assert reply.chunks == response.chunks
    assert reply.headers == response.headers
    assert assets.counts.as_dict() == {}


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        ("content-encoding", "compress", "encoded"),
        ("content-encoding", "gzip, gzip", "encoded"),
        ("cache-control", "public, no-transform", "no-transform"),
        ("content-type", "text/html; charset=utf-16", "charset"),
        ("content-type", "text/html; charset=utf-7", "charset"),
        ("content-type", "text/html; charset=iso-2022-jp", "charset"),
        ("content-type", "text/html; charset=nonsense", "charset"),
        ("content-type", "text/html; charset=hex", "charset"),
        ("content-type", "text/html; charset=undefined", "charset"),
    ],
)
def test_pages_that_must_not_be_touched(
    assets: Assets, shell: Shell, header: str, value: str, reason: str
) -> None:
    """Forbidden and unreadable pages pass as they are, and are counted with the reason."""
    headers = {"content-type": "text/html", header: value, "etag": '"x"', "content-digest": "sha-256=:x:"}
    response = Response(pieces(PAGE, 10), headers).with_length()
    reply = shell.page(assets, response)
    assert reply.chunks == response.chunks
    assert reply.headers == response.headers
    assert assets.counts.as_dict() == {reason: 1}


def test_partial_content_passes(assets: Assets, shell: Shell) -> None:
    """Half a page cannot be tokenized; and its offsets count in the original."""
    headers = {"content-type": "text/html", "content-range": "bytes 0-9/100", "etag": '"x"', "digest": "x"}
    response = Response([PAGE], headers, status=206)
    reply = shell.page(assets, response)
    assert (reply.status, reply.body) == (206, PAGE)
    assert reply.headers == headers


@pytest.mark.parametrize(
    "kind",
    [
        "text/html",
        "TEXT/HTML;charset=latin-1",
        'text/html; charset="Shift_JIS"',
        "text/html; charset=windows-1252",
    ],
)
def test_every_encoding_in_which_ascii_is_ascii(assets: Assets, shell: Shell, kind: str) -> None:
    """The type may be written in any case, with or without a charset."""
    assert shell.page(assets, Response([PAGE], {"content-type": kind})).body == rewritten(assets)


def test_a_name_in_the_pages_own_encoding(assets: Assets, shell: Shell) -> None:
    """Letters beyond ASCII are read as the response declares them."""
    page = "<img src='/static/img/bücher.png'>".encode("latin-1")
    reply = shell.page(assets, Response([page], {"content-type": "text/html; charset=iso-8859-1"}))
    assert reply.body == f"<img src='{assets.url('img/bücher.png')}'>".encode()


def test_digests_and_ranges_go(assets: Assets, shell: Shell) -> None:
    """Headers about the original bytes would be wrong about these."""
    gone = {
        "content-digest": "sha-256=:x:",
        "repr-digest": "sha-256=:x:",
        "digest": "x",
        "content-md5": "x",
        "accept-ranges": "bytes",
    }
    stay = {"content-type": "text/html", "last-modified": "Fri, 01 Jan 2021 00:00:00 GMT", "vary": "Cookie"}
    assert shell.page(assets, Response([b"<p>", b"x"], {**gone, **stay})).headers == stay


def test_head(assets: Assets, shell: Shell) -> None:
    """HEAD says nothing about a length that only the page itself would tell; the rest is as for GET."""
    headers = {"content-type": "text/html", "etag": '"x"', "content-length": "1000"}
    reply = shell.page(assets, Response([b""], headers), method="HEAD")
    assert reply.body == b""
    assert reply.headers == {"content-type": "text/html", "etag": f'"x-{assets.version}"'}


@pytest.mark.parametrize("etag", ['"abc"', 'W/"abc"', '""'])
def test_entity_tags(assets: Assets, shell: Shell, etag: str) -> None:
    """A rewritten page's tag ends in the assets' version; on the way back in the application sees its own."""
    response = Response([PAGE], {"content-type": "text/html", "etag": etag})
    tag = shell.page(assets, response).headers["etag"]
    assert tag == etag[:-1] + f'-{assets.version}"'
    again = Response([b""], {"etag": etag}, status=304)
    reply = shell.page(assets, again, headers={"if-none-match": f'"other", {tag}', "if-match": tag})
    strong = etag.removeprefix("W/")  # a weak one matches nothing there, and may be weak by our doing
    assert again.seen == {"if-none-match": f'"other", {etag}', "if-match": strong}
    assert (reply.status, reply.headers["etag"]) == (304, tag)


def test_entity_tags_of_another_release(assets: Assets, folder: Path, shell: Shell) -> None:
    """A page with other assets is another page: the application does not know its tag."""
    old = Assets(folder, cdn="https://old.example.net")
    tag = shell.page(old, Response([PAGE], {"content-type": "text/html", "etag": '"abc"'})).headers["etag"]
    response = Response([PAGE])
    shell.page(assets, response, headers={"if-none-match": tag})
    assert response.seen == {"if-none-match": tag}


def test_the_tags_of_what_is_no_page(assets: Assets, shell: Shell) -> None:
    """JSON keeps its tag, both ways."""
    response = Response([b""], {"etag": '"abc"'}, status=304)
    reply = shell.page(assets, response, headers={"if-none-match": '"abc"'})
    assert response.seen == {"if-none-match": '"abc"'}
    assert reply.headers["etag"] == '"abc"'


DATE = "Fri, 01 Jan 2021 00:00:00 GMT"


@pytest.mark.parametrize(
    ("path", "sent", "seen"),
    [
        ("/shop", {"if-modified-since": DATE}, {}),
        ("/", {"if-modified-since": DATE}, {}),
        ("/page.html", {"if-modified-since": DATE}, {}),
        ("/photo.jpg", {"if-modified-since": DATE}, {"if-modified-since": DATE}),
        ("/products/tv-5.1", {"if-modified-since": DATE}, {}),
        ("/list.php", {"if-modified-since": DATE}, {}),
        (
            "/packages/next.js",
            {"accept": "text/html,*/*", "if-modified-since": DATE},
            {"accept": "text/html,*/*"},
        ),
        (
            "/app/next.js",
            {"accept": "*/*", "if-modified-since": DATE},
            {"accept": "*/*", "if-modified-since": DATE},
        ),
        ("/products/tv-5.1", {"accept": "text/html", "range": "bytes=0-9"}, {"accept": "text/html"}),
        (
            "/shop",
            {"if-modified-since": DATE, "if-none-match": '"x"'},
            {"if-modified-since": DATE, "if-none-match": '"x"'},
        ),
        ("/shop", {"accept": "text/html", "range": "bytes=0-9", "if-range": '"x"'}, {"accept": "text/html"}),
        ("/shop", {"accept": "*/*", "range": "bytes=0-9"}, {"accept": "*/*", "range": "bytes=0-9"}),
        (
            "/movie.mp4",
            {"accept": "text/html", "range": "bytes=0-9"},
            {"accept": "text/html", "range": "bytes=0-9"},
        ),
        ("/shop", {"range": "bytes=0-9", "if-range": '"x-VERSION"'}, {}),
    ],
)
def test_what_the_application_is_asked(
    assets: Assets, shell: Shell, path: str, sent: dict[str, str], seen: dict[str, str]
) -> None:
    """A date alone, or a range of a page, is not passed on where the answer may be a page, and else it is."""
    response = Response([PAGE])
    sent = {name: value.replace("VERSION", assets.version) for name, value in sent.items()}
    reply = shell.page(assets, response, path, headers=sent)
    assert response.seen == seen
    assert reply.status == 200


def test_the_pages_own_host(assets: Assets, shell: Shell) -> None:
    """Absolute URLs of the host that was asked are the application's own."""
    page = b"<img src=http://shop.example/static/logo.png><img src=http://other.example/static/logo.png>"
    reply = shell.page(assets, Response([page]), headers={"host": "shop.example:80"})
    assert reply.body == page.replace(b"http://shop.example/static/logo.png", assets.url("logo.png").encode())


def test_relative_urls(assets: Assets, shell: Shell) -> None:
    """They resolve against the request's path."""
    page = b"<img src=../static/logo.png>"
    assert shell.page(assets, Response([page]), "/shop/").body == rewritten(
        assets, b"<img src=/static/logo.png>"
    )
    assert shell.page(assets, Response([page]), "/shop/cart/").body == page


def test_a_fault_is_counted(
    assets: Assets, shell: Shell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the rewriter costs no page: it goes out as it is, and is counted."""

    def fail(*arguments: object) -> Iterator[Any]:
        raise ZeroDivisionError

    monkeypatch.setattr("scalekit.cdn._attributes.AttributeRewriter.edits", fail)
    monkeypatch.setattr(HtmlRewriter, "_jump", lambda *arguments: False)
    with caplog.at_level(logging.CRITICAL, logger="scalekit.cdn"):
        assert shell.page(assets, Response(pieces(PAGE, 50)).with_length()).body == PAGE
    assert assets.counts.as_dict() == {"pages": 1, "urls": 0, "errors": 1}
