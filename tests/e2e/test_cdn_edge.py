"""A site behind a real nginx as its CDN, in a real browser."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scalekit.cdn.build import build
from tests import plain
from tests.cdn.edge import address, balancer, edge, ports, site
from tests.cdn.edge_files import MODULES, PICTURES, write
from tests.ops.child import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

# What a page of tests.cdn.edge_site can tell of itself.
WORKS = """() => ({
    ran: window.ran ?? [],
    fonts: [...document.fonts].map((font) => [font.family, font.status]),
    images: [...document.images].map((image) => image.complete && image.naturalWidth),
    color: getComputedStyle(document.body).color,
    release: getComputedStyle(document.documentElement).getPropertyValue("--release"),
    file: document.querySelector("a[href*=logo]").getAttribute("href"),
})"""
OBSERVE = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


def what_works(release: str = "one") -> dict[str, object]:
    return {
        "ran": [[name, release] for name in ("classic", *MODULES)],
        "fonts": [["Block", "loaded"]],
        "images": [40, 40, 40, 40],
        "color": "rgb(1, 2, 3)",
        "release": f'"{release}"',
        "file": "/static/img/logo.svg",  # a link, and so as it was
    }


@dataclass
class Visit:
    """A page in a tab, and what the browser has said of it."""

    tab: Any
    answers: list[tuple[int, str]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def look(self, url: str) -> None:
        """Go there, and wait until all works."""
        self.answers.clear()
        self.tab.goto(url)
        self.works()

    def works(self) -> None:
        """Wait until all of the page works, and that of one release."""
        want = what_works(self.tab.title())
        wait_until(
            lambda: self.tab.evaluate(WORKS) == want,
            f"all works, unlike {self.tab.evaluate(WORKS)}; {self.complaints}; {self.answers}",
        )
        self.tab.wait_for_load_state("networkidle")
        assert self.complaints == []
        assert self.tab.evaluate("window.violations") == []

    def hosts(self) -> dict[str, set[str]]:
        """By host which files came from there, without their hashes; all of them came, and once."""
        found: dict[str, set[str]] = {}
        urls = [url for _, url in self.answers]
        assert sorted(set(urls)) == sorted(urls)
        for status, url in self.answers:
            if "/static/" in url:
                assert status == 200, url
                host, _, name = url.partition("/static/")
                stem, _, rest = name.partition(".")
                found.setdefault(host, set()).add(f"{stem}.{rest.rpartition('.')[2]}")
        return found


@contextmanager
def visit(browser: Any) -> Iterator[Visit]:
    """A visitor who has been nowhere yet."""
    context = browser.new_context()
    context.add_init_script(OBSERVE)
    visited = Visit(context.new_page())
    visited.tab.on("response", lambda reply: visited.answers.append((reply.status, reply.url)))
    visited.tab.on("console", lambda message: visited.complaints.append(message.text))
    visited.tab.on("pageerror", lambda error: visited.complaints.append(str(error)))
    visited.tab.on(
        "requestfailed", lambda request: visited.complaints.append(f"{request.url}: {request.failure}")
    )
    yield visited
    context.close()


ALL = {
    *(f"img/{name}.svg" for name in {*PICTURES, "only-one"} - {"large"}),
    *(f"js/{name}.js" for name in ("classic", *MODULES)),
    *("css/site.css", "css/theme.css", "fonts/block.woff2"),
}


@pytest.mark.parametrize("application", ["app", "outside", "inside"])
def test_all_comes_from_the_cdn(browser: Any, tmp_path: Path, artifacts: Path, application: str) -> None:
    """Fonts, modules, an import map, integrity, a strict policy; compressed or not, the console is quiet."""
    [port] = ports(1)
    with edge(port) as nginx, visit(browser) as visitor:
        cdn = address(nginx)
        with site(write(tmp_path / "files"), port, cdn=cdn, application=application):
            for path in ("/", "/streamed"):
                visitor.look(f"http://shop.localhost:{port}{path}")
                assert visitor.hosts() == {cdn: ALL}
            visitor.tab.screenshot(path=artifacts / f"cdn-{application}.png")


def test_without_the_cdn(browser: Any, tmp_path: Path, artifacts: Path) -> None:
    """When it is gone, the next page after the probe has noticed works without it, and then with it again."""
    [port] = ports(1)
    url = f"http://shop.localhost:{port}"
    with (
        edge(port) as nginx,
        site(write(tmp_path / "files"), port, cdn=address(nginx), application="probing"),
    ):

        def pages_have_files_at(cdn: str | None) -> None:
            wait_until(
                lambda: (address(nginx) in plain.get(f"http://127.0.0.1:{port}/").text) is (cdn is not None),
                f"pages with their files at {cdn}",
            )
            with visit(browser) as visitor:
                visitor.look(url)
                assert visitor.hosts() == {cdn or url: ALL}
                visitor.tab.screenshot(path=artifacts / f"cdn-{'up' if cdn else 'down'}.png")

        pages_have_files_at(address(nginx))
        nginx.kill()
        pages_have_files_at(None)
        nginx.start()
        pages_have_files_at(address(nginx))


def test_a_page_that_the_browser_has_kept(browser: Any, tmp_path: Path) -> None:
    """Asked about by its entity tag it is answered 304, and works as it did; and so does the way back."""
    [port] = ports(1)
    url, origin = f"http://shop.localhost:{port}", f"http://127.0.0.1:{port}"
    with (
        edge(port) as nginx,
        site(write(tmp_path / "files"), port, cdn=address(nginx)),
        visit(browser) as one,
    ):
        tag = plain.get(origin).headers["etag"]
        again = plain.get(origin, headers={"If-None-Match": tag})
        assert (again.status_code, again.headers["etag"]) == (304, tag)
        # A browser takes over what that says of policies.
        assert address(nginx) in again.headers["content-security-policy"]
        for asked in (1, 2, 3):
            one.look(f"{url}/")
            one.tab.goto(f"{url}/other")
            assert one.tab.locator("p").inner_text() == str(asked)
        for way in (one.tab.go_back, one.tab.go_forward, one.tab.go_back):
            way()
        one.works()


def test_two_releases_at_a_time(browser: Any, tmp_path: Path) -> None:
    """Pages from either server, files from either, by turns: each page has all of its own release."""
    origins = ports(2)
    seen = set()
    with ExitStack() as stack:
        nginx = stack.enter_context(edge(*origins))
        front = stack.enter_context(balancer(*origins))
        for port, release in zip(origins, ("one", "two"), strict=True):
            files = write(tmp_path / release, release)
            stack.enter_context(site(files, port, cdn=address(nginx), release=release))
        for _ in range(4):
            with visit(browser) as visitor:
                visitor.look(f"http://shop.localhost:{front.port}/")
                assert set(visitor.hosts()) == {address(nginx)}
                seen.add(visitor.tab.title())
    assert seen == {"one", "two"}


def test_a_page_outlives_its_servers(browser: Any, tmp_path: Path) -> None:
    """A tab from before a deployment gets its files from servers that came after, and a new tab the new."""
    [port] = ports(1)
    url, dist = f"http://shop.localhost:{port}/", tmp_path / "dist"
    with edge(port, caching=False) as nginx, visit(browser) as early, visit(browser) as late:
        build(write(tmp_path / "one", "one"), dist)
        with site(dist, port, cdn=address(nginx), release="one"):
            early.look(url)
        build(write(tmp_path / "two", "two"), dist)
        with site(dist, port, cdn=address(nginx), release="two"):
            assert early.tab.evaluate("window.later()") == "one"
            late.look(url)
            assert late.tab.evaluate("window.later()") == "two"
        for visitor in (early, late):
            assert set(visitor.hosts()) == {address(nginx)}
            assert visitor.complaints == []
