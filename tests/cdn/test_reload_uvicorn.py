"""A developer's server in a process of its own, while its files are edited."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from tests import plain
from tests.cdn.conftest import write_tree
from tests.ops.child import child
from tests.servers.ports import free_port
from tests.servers.processes import kill_tree
from tests.servers.waiting import wait_until

pytest.importorskip("uvicorn")
pytestmark = pytest.mark.slow

_URLS = re.compile(r'src="([^"]+)".*href="([^"]+)"')


@contextmanager
def server(folder: Path, *, workers: int = 1, manifest: Path | None = None) -> Iterator[httpx.Client]:
    port = free_port()
    env = {**os.environ, "FOLDER": str(folder)} | ({"MANIFEST": str(manifest)} if manifest else {})
    arguments = ("--port", str(port), "--log-level", "warning", "--workers", str(workers))
    with (
        child("-m", "uvicorn", "tests.cdn.reload_app:app", *arguments, env=env) as started,
        plain.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        wait_until(lambda: plain.answers(str(client.base_url)), what="the server")
        try:
            yield client
        finally:
            kill_tree(started.process.pid)  # with its workers


def urls(client: httpx.Client) -> tuple[str, str]:
    """Of the script and of the style sheet."""
    page = client.get("/").raise_for_status()
    match = _URLS.search(page.text)
    assert match, page.text
    return match[1], match[2]


def named(content: bytes) -> str:
    return sha256(content).hexdigest()[:12]


def test_edits_show_in_the_next_page(tmp_path: Path) -> None:
    """An edited script and a style sheet whose import was edited: new URLs, new bytes, nothing for ever."""
    static = tmp_path / "static"
    write_tree(static, {"app.js": b"one()", "site.css": b"@import 'base.css';", "base.css": b"/* one */"})
    with server(static) as client:
        before = urls(client)
        write_tree(static, {"app.js": b"two()", "base.css": b"/* two */"})
        imported = f"base.{named(b'/* two */')}.css"

        def has_both() -> bool:
            # One that looks between the two, or into a file that is just being written, sees another page.
            script, sheet = urls(client)
            return named(b"two()") in script and imported in client.get(sheet).text

        wait_until(has_both, what="a page with both edits")
        script, sheet = urls(client)
        assert not {script, sheet} & set(before)
        assert client.get(script).content == b"two()"
        base = client.get(f"/static/{imported}")
        assert (base.content, base.headers["cache-control"]) == (b"/* two */", "no-cache")
        (static / "base.css").unlink()
        wait_until(lambda: client.get(f"/static/{imported}").status_code != 200, what="its end")


def test_a_file_that_is_written_slowly(tmp_path: Path) -> None:
    """Whoever reads meanwhile may get half of it, but for ever nobody; then it is named after all of it."""
    static = tmp_path / "static"
    write_tree(static, {"app.js": b"start()", "site.css": b"start"})
    with server(static) as client:
        written = b""
        with (static / "app.js").open("wb") as file:
            for number in range(60):
                piece = b"/* %d */" % number * 500
                file.write(piece)
                file.flush()
                written += piece
                script = client.get(urls(client)[0])
                assert script.status_code == 200
                assert "immutable" not in script.headers["cache-control"]
                assert "max-age" not in script.headers["cache-control"]
        wait_until(lambda: named(written) in urls(client)[0], what="the name of all of it")
        script = client.get(urls(client)[0])
        assert (script.content, script.headers["cache-control"]) == (written, "no-cache")


def test_every_worker_sees_them(tmp_path: Path) -> None:
    """Each process looks for itself: no page of either has the old URL for long."""
    static = tmp_path / "static"
    write_tree(static, {"app.js": b"one()", "site.css": b"one"})
    with server(static, workers=2) as client:
        write_tree(static, {"app.js": b"two()"})

        def all_new() -> bool:
            pages = [plain.get(str(client.base_url)).text for _ in range(8)]
            return all(named(b"two()") in page for page in pages)

        wait_until(all_new, what="pages of every worker")


def test_a_tool_that_builds_again(tmp_path: Path) -> None:
    """While a manifest is written piece by piece, no page is without a file, nor with one of long ago."""
    dist = tmp_path / "dist"

    def built(text: str) -> bytes:
        names = {name: f"{name.replace('.', f'-{named(text.encode())}.')}" for name in ("app.js", "site.css")}
        write_tree(dist, {file: text.encode() for file in names.values()})
        return json.dumps({name: {"file": file} for name, file in names.items()}).encode()

    manifest = write_tree(dist, {"manifest.json": built("release 0")}) / "manifest.json"
    with server(dist, manifest=manifest) as client:
        for number in range(1, 6):
            text = built(f"release {number}")
            with manifest.open("wb") as file:
                for begin in range(0, len(text), 20):
                    file.write(text[begin : begin + 20])
                    file.flush()
                    script, sheet = urls(client)
                    contents = {client.get(url).raise_for_status().text for url in (script, sheet)}
                    # A new manifest may have come between the two: what is asked for is there.
                    assert contents <= {f"release {number - 1}", f"release {number}"}
            hashed = named(f"release {number}".encode())
            wait_until(lambda hashed=hashed: hashed in urls(client)[0], what="the new page")
