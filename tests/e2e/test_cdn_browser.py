"""A page whose files come from another port, in a real browser."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests import plain
from tests.ops.child import child, wait_until
from tests.servers.ports import free_port


@contextmanager
def running(application: str, port: int, cdn: str) -> Iterator[str]:
    """One of a module's applications, under uvicorn."""
    url = f"http://127.0.0.1:{port}"
    arguments = ("-m", "uvicorn", application, "--port", str(port))
    with child(*arguments, env={**os.environ, "CDN": cdn}):
        wait_until(lambda: plain.answers(url, below=500), application)
        yield url


@pytest.mark.timeout(180)
def test_a_browser_loads_the_files_from_the_cdn(browser: Any) -> None:
    """The sheet and what it imports, image and script come from the CDN's port; the console is quiet."""
    port = free_port()
    cdn = f"http://127.0.0.1:{port}"
    example = "examples.cdn_starlette"
    with running(f"{example}:cdn", port, cdn), running(f"{example}:app", free_port(), cdn) as site:
        page = browser.new_page()
        answered: list[tuple[int, str]] = []
        complaints: list[str] = []
        page.on("response", lambda response: answered.append((response.status, response.url)))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{site}/", wait_until="networkidle")
        image = page.locator("img")
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")
        assert f"its script is {cdn}/static/hello." in page.locator("output").inner_text()
        # The variable comes from the imported sheet, so that both were applied.
        assert page.evaluate("getComputedStyle(document.body).color") in (
            "rgb(34, 48, 58)",
            "rgb(232, 236, 239)",
        )
        assert page.locator("a").get_attribute("href") == "/static/logo.svg"
        page.close()
    assert complaints == []
    assert {status for status, _ in answered} == {200}
    files = {url for _, url in answered if "/static/" in url}
    assert all(url.startswith(f"{cdn}/static/") for url in files), files
    names = {url.rpartition("/")[2].partition(".")[0] for url in files}
    assert {"site", "theme", "paper", "logo", "hello"} <= names


# What a page of tests.e2e.cdn_page can tell of itself.
WORKS = """() => {
    const paint = document.createElement("canvas").getContext("2d");
    paint.drawImage(document.querySelector("img"), 0, 0);
    return {
        subtitles: document.querySelector("track").readyState,
        color: getComputedStyle(document.body).color,
        ran: window.ran,
        carts: new Set(window.carts).size,
        drawing: document.querySelector("object").contentDocument !== null,
        pixels: paint.canvas.toDataURL().length > 0,
        base: document.querySelector("a").href.slice(location.origin.length),
    };
}"""
WHAT_WORKS = {
    "subtitles": 2,  # loaded; 3 would be an error
    "color": "rgb(1, 2, 3)",
    "ran": ["classic", "module"],
    "carts": 1,
    "drawing": True,
    "pixels": True,
    "base": "/static/here",
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("application", ["plain", "moved"])
def test_a_page_works_with_the_middleware_as_without(browser: Any, application: str) -> None:
    """Subtitles, credentials, modules, objects, canvases, bases: all works from another origin."""
    port, module = free_port(), "tests.e2e.cdn_page"
    cdn = f"http://localhost:{port}"
    with running(f"{module}:cdn", port, cdn), running(f"{module}:{application}", free_port(), cdn) as site:
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{site}/", wait_until="networkidle")
        wait_until(
            lambda: page.evaluate(WORKS) == WHAT_WORKS, f"all works, unlike at first: {page.evaluate(WORKS)}"
        )
        moved = page.locator("img").get_attribute("src").startswith(cdn)
        page.close()
    assert complaints == []
    assert moved is (application == "moved")
