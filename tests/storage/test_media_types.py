"""What a file is, by its first bytes, and what is accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.errors import ConfigurationError, UnsupportedMediaType
from scalekit.storage import FileStorage, Storage
from scalekit.storage._extensions import extension_for, type_for
from scalekit.storage._media_types import ACTIVE, accepted_type, check_accept, sniff

IMAGES = ("image/*",)

SAMPLES = [
    (b"\x89PNG\r\n\x1a\n....", "image/png"),
    (b"\xff\xd8\xff\xe0..JFIF", "image/jpeg"),
    (b"GIF89a..", "image/gif"),
    (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
    (b"\0\0\0\x1cftypavif\0\0\0\0", "image/avif"),
    (b"\0\0\0\x18ftypheic\0\0\0\0", "image/heic"),
    (b"\0\0\0\x18ftypisom\0\0\0\0", "video/mp4"),
    (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "video/webm"),
    (b"%PDF-1.7", "application/pdf"),
    (b"PK\x03\x04\x14\0", "application/zip"),
    (b"RIFF\x10\0\0\0WAVEfmt ", "audio/wav"),
    (b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "image/bmp"),
    (b"BMW is a brand of cars", "text/plain"),
    (b"<!DOCTYPE html><title>x", "text/html"),
    (b"\n\t <script>alert(1)</script>", "text/html"),
    (b"<a href=x>", "text/html"),
    (b"<abc> is a tag of mine", "text/plain"),
    (b"<!-- <p> --><svg onload=alert(1)>", "image/svg+xml"),
    (b"<svg xmlns='...'>", "image/svg+xml"),
    (b"<?xml version='1.0'?>\n<!-- hi --><svg>", "image/svg+xml"),
    (b"<?xml version='1.0'?><rss>", "application/xml"),
    (b"\xef\xbb\xbf<html>", "text/html"),
    ("\ufeff<html>".encode("utf-16"), "text/html"),
    (b"MZ\x90\0", "application/x-msdownload"),
    (b"name,price\nbook,1", "text/plain"),
    (b"\x00\x01\x02\x03", "application/octet-stream"),
    (b"<!--ftypavif--><script>alert(1)</script>", "text/html"),
    (b"<!--ftypheic--><svg onload=alert(1)>", "image/svg+xml"),
    (b"a ? ftypes of mine", "text/plain"),
    (b"", "application/x-empty"),
]


@pytest.mark.parametrize(("head", "kind"), SAMPLES)
def test_sniff(head: bytes, kind: str) -> None:
    """The first bytes tell the type."""
    assert sniff(head) == kind


@given(st.binary(max_size=1024))
def test_sniff_anything(head: bytes) -> None:
    """Any bytes have some type."""
    assert "/" in sniff(head)


def test_declared_png_but_html() -> None:
    """13. A web page is a web page, whatever type is claimed for it."""
    with pytest.raises(UnsupportedMediaType) as caught:
        accepted_type(b"<html><script>alert(1)</script>", "image/png", IMAGES)
    assert caught.value.found == "text/html"
    assert caught.value.status == 415


def test_declared_png_but_jpeg() -> None:
    """Among accepted types the content decides under which the file is stored."""
    assert accepted_type(b"\xff\xd8\xff", "image/png", IMAGES) == "image/jpeg"


@pytest.mark.parametrize("accept", [("image/*",), ("*/*",), ("image/*", "*/*")])
def test_svg_must_be_named(accept: tuple[str, ...]) -> None:
    """13. No wildcard includes a type that runs scripts; its name does."""
    svg = b"<svg onload=alert(1)>"
    with pytest.raises(UnsupportedMediaType):
        accepted_type(svg, "image/svg+xml", accept)
    assert accepted_type(svg, "image/svg+xml", (*accept, "image/svg+xml")) == "image/svg+xml"


@given(st.sampled_from(SAMPLES), st.sampled_from(sorted(ACTIVE)))
def test_active_types_are_never_claimed(sample: tuple[bytes, str], claim: str) -> None:
    """13. A claim cannot turn other content into a type that runs scripts."""
    head, kind = sample
    if kind not in ACTIVE:
        assert accepted_type(head, claim, ("*/*",)) not in ACTIVE


def test_claims_narrow_containers() -> None:
    """A Word document is a ZIP archive, a CSV file is text: there the claim is believed."""
    word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    assert accepted_type(b"PK\x03\x04", word, (word,)) == word
    assert accepted_type(b"a,b\n1,2", "text/csv; charset=utf-8", ("text/csv",)) == "text/csv"
    assert accepted_type(b"", "text/csv", ("text/*",)) == "text/csv"
    with pytest.raises(UnsupportedMediaType):
        accepted_type(b"\x00\x01binary", word, (word, "text/csv"))


NO_TYPES = [
    "text/csv, text/html",
    "text/csv,text/html",
    "text/csvx, text/html",
    "text/csv text/html",
    "text/csv\r\nset-cookie: admin=1",
    "text/csv\nx: y",
    "text/csv\x00",
    "text/csv\u20ac",
    "text/csv\xe9",
    "text/csv\x0bfoo",
    "text/" + "c" * 7000,
    'text/csv; charset="utf-8',
    'text/csv; header="a, text/html"',
    "text/csv; charset=utf-8, text/html",
    "text/*",
    "*/*",
    "text",
    "/csv",
    "",
]


@pytest.mark.parametrize("claim", [*(each for each in NO_TYPES if ";" not in each), "text/html", "text/csvx"])
def test_claims_that_are_no_types(claim: str) -> None:
    """A claim is believed if it is one exact type of those that narrow the content, and never else."""
    assert accepted_type(b"<script>, but later in a text"[1:], claim, ("*/*",)) == "text/plain"


@pytest.mark.parametrize("tail", [", text/html", "\r\nx: y", ",text/html;charset=utf-8", " x"])
def test_claims_of_a_family(tail: str) -> None:
    """A family of types takes the names of its members, not what follows them."""
    word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    assert accepted_type(b"PK\x03\x04", word + tail, ("*/*",)) == "application/zip"
    assert accepted_type(b"\0\0\0\x18ftypisom", "video/x-m4v" + tail, ("video/*",)) == "video/mp4"


def test_patterns_are_not_types() -> None:
    """Bytes that nobody knows are not stored as ``image/*`` because a client says so."""
    with pytest.raises(UnsupportedMediaType):
        accepted_type(b"\x00\x01\x02", "image/*", IMAGES)


async def test_types_of_the_application(storage: Storage) -> None:
    """What the application gives as a type is a type, or an error before anything is read."""
    for wrong in NO_TYPES:
        with pytest.raises(ConfigurationError, match="content_type"):
            await storage.put("a.bin", b"x", content_type=wrong)
        assert await storage.stat("a.bin") is None, wrong
    for right in ("text/csv", "text/plain; charset=utf-8", 'Text/Plain;charset="utf-8"', "image/svg+xml"):
        stored = await storage.put("a.bin", b"x", content_type=right, overwrite=True)
        if not isinstance(storage, FileStorage):  # a file system keeps no type
            assert stored.content_type == right


def test_unknown_bytes_do_not_become_an_image() -> None:
    """A type whose signature is known is not believed without it."""
    with pytest.raises(UnsupportedMediaType):
        accepted_type(b"\x00\x01\x02", "image/png", IMAGES)
    assert (
        accepted_type(b"\x00\x01\x02", "application/x-mine", ("application/x-mine",)) == "application/x-mine"
    )


@pytest.mark.parametrize(
    "accept", [[], "image/*", ["image"], ["image/"], ["*/png"], ["image /png", "image/png, text/html"]]
)
def test_accept_is_checked(accept: list[str]) -> None:
    """A pattern that could never match is a mistake at start-up."""
    with pytest.raises(ConfigurationError):
        check_accept(accept)


def test_extensions_come_from_types() -> None:
    """The extension of a key stands for the type, and back."""
    for kind in ("image/jpeg", "image/png", "image/webp", "application/pdf", "text/csv", "video/mp4"):
        assert type_for("a/b" + extension_for(kind)) == kind
    assert extension_for("application/x-nobody-knows") == ""
    assert type_for("a.b/README") == "application/octet-stream"
    assert type_for("archive.tar.gz") == "application/gzip"
