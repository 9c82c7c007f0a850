"""The page of the documentation uploads from a real browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import plain
from tests.ops.child import child, wait_until
from tests.servers.node import npm_package
from tests.servers.ports import free_port

FILM = b"\x1a\x45\xdf\xa3" + bytes(20) + b"webm" + os.urandom(3_000_000)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    client = npm_package("tus-js-client", "4.3.1") / "node_modules/tus-js-client/dist/tus.min.js"
    environment = {**os.environ, "WHERE": str(tmp_path), "TUS": str(client)}
    with child("-m", "uvicorn", "tests.e2e.tus_page:app", "--port", str(port), env=environment):
        url = f"http://127.0.0.1:{port}/"
        wait_until(lambda: plain.answers(url), "the page")
        yield url


def films(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in (folder / "shared").iterdir() if path.is_file()]


@pytest.mark.timeout(180)
def test_a_page_goes_on_where_another_was(browser: Any, site: str, tmp_path: Path) -> None:
    """20. tus-js-client in a browser: an upload breaks off with its page, and goes on in the next one;
    what is no film is refused, and the page says why."""
    film = tmp_path / "film.webm"
    film.write_bytes(FILM)
    context = browser.new_context()
    page = context.new_page()
    page.goto(site)
    page.evaluate(
        """() => {
            const start = tus.Upload.prototype.start;
            tus.Upload.prototype.start = function () { this.options.chunkSize = 1000000; start.call(this); };
        }"""
    )
    # Nothing more than the first piece gets through, until the page is gone.
    sent: list[str] = []

    def first_only(route: Any) -> None:
        sent.append(route.request.method)
        if sent.count("PATCH") > 1:
            return route.abort()
        return route.continue_()

    page.route("**/uploads/**", first_only)
    page.locator("input").set_input_files(film)
    wait_until(lambda: page.evaluate("document.querySelector('progress').value") > 0.3, "the first piece")
    page.wait_for_function("document.querySelector('progress').value < 1")
    wait_until(lambda: page.evaluate("Object.keys(localStorage).length") == 1, "the browser remembers it")
    wait_until(lambda: len(list((tmp_path / "shared/tus").rglob("*.p*"))) == 1, "it is stored")
    page.close()
    assert films(tmp_path) == []

    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method) if "/uploads/" in request.url else None)
    page.goto(site)
    page.locator("input").set_input_files(film)
    page.wait_for_function("document.querySelector('output').value === 'done'")
    assert asked == ["HEAD", "PATCH"]
    assert films(tmp_path) == [FILM]

    other = tmp_path / "page.webm"
    other.write_bytes(b"<html>" + bytes(5000))
    page.locator("input").set_input_files(other)
    page.wait_for_function("document.querySelector('output').value.includes('is not accepted')")
    assert len(films(tmp_path)) == 1
    context.close()
