"""Files that a build has compressed, through both shells."""

import asyncio
import gzip
import hashlib
from pathlib import Path
from typing import Any, ClassVar

import pytest

from scalekit.cdn import Assets, Entry, Manifest
from scalekit.cdn import asgi as asgi_shell
from scalekit.cdn import wsgi as wsgi_shell
from scalekit.cdn._accept import acceptable
from scalekit.cdn._files import Files
from scalekit.cdn._representation import Representation, Room
from scalekit.errors import ConfigurationError
from tests.cdn.conftest import write_tree
from tests.cdn.drivers import Reply, Shell, call_asgi, call_wsgi

SCRIPT = b"console.log('shop')\n" * 200
NAME, IMAGE = "app.0123456789ab.js", "logo.0123456789ab.png"
# What they hold matters to nobody here, only that they are told apart, and how long they are.
BODIES = {None: SCRIPT, "gzip": gzip.compress(SCRIPT, mtime=0), "br": b"brotli" * 5, "zstd": b"zstd" * 8}
SUFFIXES = {"gzip": ".gz", "br": ".br", "zstd": ".zst"}
LENGTHS = {None: 4000, "gzip": len(BODIES["gzip"]), "br": 30, "zstd": 32}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder as a build leaves it."""
    files = {NAME: SCRIPT, IMAGE: b"a logo"}
    files |= {NAME + SUFFIXES[coding]: body for coding, body in BODIES.items() if coding is not None}
    return write_tree(tmp_path / "dist", files)


def read(folder: Path) -> Assets:
    def entry(name: str, file: str, kind: str, *encodings: str) -> Entry:
        content = (folder / file).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        return Entry(
            name=name,
            hashed_name=file,
            content_type=kind,
            digest=digest,
            size=len(content),
            encodings=encodings,
        )

    script = entry("app.js", NAME, "text/javascript; charset=utf-8", "br", "gzip", "zstd")
    return Assets.from_manifest(
        Manifest([script, entry("logo.png", IMAGE, "image/png")], source="'dist/manifest.json'"),
        folder=folder,
    )


def coding_of(reply: Reply) -> str | None:
    return reply.headers.get("content-encoding")


@pytest.mark.parametrize(
    ("header", "order"),
    [
        (None, [None]),
        ("", [None]),
        ("identity", [None]),
        ("gzip", ["gzip", None]),
        ("X-GZip", ["gzip", None]),
        ("gzip, deflate, br, zstd", ["br", "zstd", "gzip", None]),
        ("GZIP , Br", ["br", "gzip", None]),
        ("gzip;q=1.0, br;q=0.9", ["gzip", "br", None]),
        ("gzip;Q=0.001", ["gzip", None]),
        ("br ; q=0.5 , zstd;q=0.501", ["zstd", "br", None]),
        ("gzip;q=0, br", ["br", None]),
        ("gzip;q=0.5, identity", [None, "gzip"]),
        ("br;q=0.5, identity;q=0.5", ["br", None]),
        ("*", ["br", "zstd", "gzip", None]),
        ("*;q=0.2, gzip", ["gzip", "br", "zstd", None]),
        ("br;q=0, *", ["zstd", "gzip", None]),
        ("gzip, identity;q=0", ["gzip"]),
        ("gzip, *;q=0", ["gzip"]),
        ("identity, *;q=0", [None]),
        ("identity;q=0", []),
        ("*;q=0", []),
        ("deflate", [None]),
        ("gzip;q=2, br;q=x, zstd;q=0.1234, ;q=1, ,, gz ip", [None]),
        ("gzip;level=9", [None]),
        ("br, br;q=0", ["br", None]),
        ("x" * 10_000 + ", gzip", ["gzip", None]),
    ],
)
def test_what_is_accepted(header: str | None, order: list[str | None]) -> None:
    """Weights first, then the smallest; ``*`` and ``identity`` as in RFC 9110; nonsense is passed over."""
    codings = tuple(sorted(SUFFIXES, key=LENGTHS.__getitem__))
    assert list(acceptable(None if header is None else header.encode(), codings)) == order


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("zstd, br;q=0.3", "zstd"),
        ("deflate", None),
        ("", None),
        (None, None),
        ("identity;q=0, *;q=0.1", "br"),
    ],
)
@pytest.mark.parametrize("path", ["/static/app.js", f"/static/{NAME}"])
def test_the_variant_that_is_accepted_is_sent(
    built: Path, shell: Shell, path: str, header: str | None, coding: str | None
) -> None:
    """Its bytes, its length, its coding, the type of the file itself, and that it varies."""
    headers = {} if header is None else {"accept-encoding": header}
    reply = shell.file(read(built), path, headers=headers)
    assert (reply.status, coding_of(reply), reply.body) == (200, coding, BODIES[coding])
    assert reply.headers["content-length"] == str(LENGTHS[coding])
    assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
    assert reply.headers["vary"] == "accept-encoding"
    assert reply.headers["access-control-allow-origin"] == "*"
    assert ("immutable" in reply.headers["cache-control"]) == (path != "/static/app.js")
    head = shell.file(read(built), path, headers=headers, method="HEAD")
    assert (head.status, head.headers, head.body) == (200, reply.headers, b"")


def test_each_coding_has_its_own_tag(built: Path, shell: Shell) -> None:
    """A browser's copy in one coding says nothing of another; its own is confirmed."""
    tags = {}
    for coding in BODIES:
        accept = {"accept-encoding": coding or "identity"}
        tags[coding] = shell.file(read(built), f"/static/{NAME}", headers=accept).headers["etag"]
    assert tags == {coding: f'"{hashlib.sha256(body).hexdigest()[:32]}"' for coding, body in BODIES.items()}
    assert len(set(tags.values())) == 4
    for had, tag in tags.items():
        for coding in BODIES:
            headers = {"accept-encoding": coding or "identity", "if-none-match": tag}
            reply = shell.file(read(built), f"/static/{NAME}", headers=headers)
            assert reply.status == (304 if had == coding else 200)
            if had == coding:
                assert (reply.headers["vary"], reply.headers["etag"]) == ("accept-encoding", tag)
                assert not {"content-encoding", "content-length", "content-type"} & reply.headers.keys()


def test_ranges_count_in_the_bytes_that_are_sent(built: Path, shell: Shell) -> None:
    """A range is one of the variant's; a download that began in another coding starts afresh."""
    assets = read(built)
    accept = {"accept-encoding": "gzip"}
    whole = shell.file(assets, f"/static/{NAME}", headers=accept)
    part = {**accept, "range": "bytes=10-19", "if-range": whole.headers["etag"]}
    reply = shell.file(assets, f"/static/{NAME}", headers=part)
    assert (reply.status, reply.body) == (206, BODIES["gzip"][10:20])
    assert reply.headers["content-range"] == f"bytes 10-19/{LENGTHS['gzip']}"
    assert (coding_of(reply), reply.headers["vary"]) == ("gzip", "accept-encoding")
    other = shell.file(assets, f"/static/{NAME}", headers={**part, "accept-encoding": "br"})
    assert (other.status, other.body) == (200, BODIES["br"])
    beyond = shell.file(assets, f"/static/{NAME}", headers={"accept-encoding": "br", "range": "bytes=30-"})
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */30")


def test_what_has_no_variants_does_not_vary(built: Path, shell: Shell) -> None:
    """An image is sent as it is, whatever is accepted."""
    for header in ("gzip, br", "identity;q=0"):
        reply = shell.file(read(built), f"/static/{IMAGE}", headers={"accept-encoding": header})
        assert (reply.status, reply.body, coding_of(reply)) == (200, b"a logo", None)
        assert "vary" not in reply.headers


@pytest.mark.parametrize("header", ["identity;q=0", "*;q=0", "deflate, identity;q=0"])
def test_nothing_that_is_accepted(built: Path, shell: Shell, header: str) -> None:
    """Who refuses every coding there is, and the file itself, is told so; no cache keeps that."""
    reply = shell.file(read(built), f"/static/{NAME}", headers={"accept-encoding": header})
    assert (reply.status, reply.headers["cache-control"]) == (406, "no-store")
    assert reply.headers["vary"] == "accept-encoding"


def test_a_variant_that_was_changed_or_lost_is_passed_over(built: Path, shell: Shell) -> None:
    """The next best is sent, at last the file itself; nobody gets bytes that are not what their tag says."""
    assets, accept = read(built), {"accept-encoding": "br, gzip;q=0.5"}
    (built / f"{NAME}.br").write_bytes(b"other bytes")
    assert coding_of(shell.file(assets, f"/static/{NAME}", headers=accept)) == "gzip"
    (built / f"{NAME}.gz").unlink()
    reply = shell.file(assets, f"/static/{NAME}", headers=accept)
    assert (reply.body, coding_of(reply)) == (SCRIPT, None)
    assert "immutable" in reply.headers["cache-control"]
    refused = shell.file(assets, f"/static/{NAME}", headers={"accept-encoding": "br, identity;q=0"})
    assert refused.status == 406
    (built / NAME).unlink()
    assert shell.file(assets, f"/static/{NAME}", headers=accept).status == 404


@pytest.mark.parametrize("suffix", [".br", ".gz", ".zst"])
def test_a_variant_that_is_not_there_at_start_up(built: Path, suffix: str) -> None:
    """A server does not start with half of a release; the message names the file."""
    (built / (NAME + suffix)).unlink()
    with pytest.raises(ConfigurationError, match=rf"'{NAME}{suffix}' of entry 'app.js' cannot be read"):
        read(built)


@pytest.mark.parametrize("suffix", [".br", ".gz", ".zst"])
def test_a_variant_that_leads_out_of_the_folder(built: Path, tmp_path: Path, suffix: str) -> None:
    """A link to elsewhere is refused, as for any file."""
    (tmp_path / "secret").write_bytes(b"secret")
    (built / (NAME + suffix)).unlink()
    (built / (NAME + suffix)).symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigurationError, match="is no file inside of"):
        read(built)


def test_a_plain_folder_has_no_variants(tmp_path: Path, shell: Shell) -> None:
    """What lies beside a file nobody has compared with it: it is a file of its own."""
    assets = Assets(write_tree(tmp_path, {"app.js": SCRIPT, "app.js.gz": gzip.compress(b"an older one")}))
    reply = shell.file(assets, "/static/app.js", headers={"accept-encoding": "gzip"})
    assert (reply.body, coding_of(reply)) == (SCRIPT, None)
    assert shell.file(assets, "/static/app.js.gz").headers["content-type"] == "application/gzip"


@pytest.fixture
def fetch(shell: Shell) -> Any:
    """Requests to one application, which keeps what it has read."""

    def begin(assets: Assets) -> Any:
        if shell.name == "wsgi":
            wsgi_app = wsgi_shell.AssetFiles(assets)
            return lambda path, **request: call_wsgi(wsgi_app, path, **request)
        asgi_app = asgi_shell.AssetFiles(assets)
        return lambda path, **request: asyncio.run(call_asgi(asgi_app, path, **request))

    return begin


def test_what_is_in_memory_is_what_is_there(built: Path, fetch: Any) -> None:
    """Bytes that were read before are sent only while the file is the same; so are ranges of them."""
    get = fetch(read(built))
    accept = {"accept-encoding": "br"}
    for _ in range(3):
        assert get(f"/static/{NAME}", headers=accept).body == BODIES["br"]
        assert get(f"/static/{NAME}").body == SCRIPT
        part = get(f"/static/{NAME}", headers={"range": "bytes=5-8"})
        assert (part.status, part.body) == (206, SCRIPT[5:9])
        assert get(f"/static/{NAME}", method="HEAD").body == b""
    (built / f"{NAME}.br").unlink()
    assert get(f"/static/{NAME}", headers=accept).body == SCRIPT
    (built / NAME).write_bytes(b"edited\n")
    changed = get(f"/static/{NAME}", headers=accept)
    assert (changed.body, changed.headers["cache-control"]) == (b"edited\n", "no-store")
    (built / NAME).unlink()
    assert get(f"/static/{NAME}").status == 404


class _Room(Room):
    kept: ClassVar[list[str]] = []

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.kept.clear()

    def keep(self, representation: Representation, body: bytes) -> None:
        super().keep(representation, body)
        if representation.body is not None:
            self.kept.append(Path(representation.path).name)


def test_memory_is_bounded(tmp_path: Path, fetch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files are not kept, nor any once there is no room; they are sent all the same, from the disk."""
    monkeypatch.setattr("scalekit.cdn._representation.SMALL", 10)
    files = {"a.txt": b"a" * 8, "b.txt": b"b" * 8, "c.txt": b"c" * 2, "large.txt": b"d" * 11}
    assets = Assets(write_tree(tmp_path, files))
    monkeypatch.setattr("scalekit.cdn._files.Room", lambda: _Room(10))
    get = fetch(assets)
    for _ in range(2):
        for name, content in files.items():
            assert get(f"/static/{name}").body == content
    assert _Room.kept == ["a.txt", "c.txt"]


async def test_pathsend_of_a_variant(built: Path) -> None:
    """A server that sends files by itself gets the path of the variant, and all that is said of it."""
    app = asgi_shell.AssetFiles(read(built))
    reply = await call_asgi(
        app,
        f"/static/{NAME}",
        headers={"accept-encoding": "br"},
        extensions={"http.response.pathsend": {}},
    )
    assert reply.messages[1] == {"type": "http.response.pathsend", "path": str(built / f"{NAME}.br")}
    assert (coding_of(reply), reply.headers["content-length"]) == ("br", "30")


async def test_what_is_around_may_add_headers(built: Path) -> None:
    """A middleware that adds to the headers of one answer adds to no other."""
    app = asgi_shell.AssetFiles(read(built))
    seen: list[int] = []

    async def around(scope: Any, receive: Any, send: Any) -> None:
        async def adding(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen.append(len(message["headers"]))
                message["headers"].append((b"x-frame-options", b"deny"))
            await send(message)

        await app(scope, receive, adding)

    etag = (await call_asgi(app, f"/static/{NAME}")).headers["etag"]
    for headers in ({}, {"if-none-match": etag}):
        seen.clear()
        for _ in range(2):
            await call_asgi(around, f"/static/{NAME}", headers=headers)
        assert seen[0] == seen[1]


def test_a_file_that_is_cut_short_while_it_is_read(built: Path) -> None:
    """What was read of it is not kept as the whole."""
    files = Files(read(built))
    served = files.find(f"/static/{NAME}")
    assert served is not None
    files.room.keep(served.plain, SCRIPT[:-1])
    assert served.plain.body is None
    files.room.keep(served.plain, SCRIPT)
    assert served.plain.body == SCRIPT
