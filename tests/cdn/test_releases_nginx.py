"""Servers of two releases behind nginx as their CDN, without stickiness: no 404, and no mixed page."""

import re
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from tests import plain
from tests.cdn.edge import address, balancer, edge, ports, site
from tests.cdn.edge_files import FONT, write
from tests.servers import Nginx

pytestmark = pytest.mark.slow

# In a page, a style sheet and a script of tests.cdn.edge_files.
_URL = re.compile(
    r"""(?:src=|href=|srcset=|1x, |"cart": |url\(|@import |from |import\(|URL\()["']?([^"')\s]+)"""
)
_NOT_FETCHED = ("data:", "/other", "/static/img/logo.svg", "cart")


def references(reply: httpx.Response) -> set[str]:
    """What a page, a style sheet or a script fetches."""
    kind = reply.headers["content-type"]
    if not kind.startswith(("text/html", "text/css", "text/javascript")):
        return set()
    found = _URL.findall(reply.text)
    return {urljoin(str(reply.url), url) for url in found if not url.startswith(_NOT_FETCHED)}


def visit(client: httpx.Client, front: Nginx, cdn: str) -> str:
    """Load a page and all that it needs; the answer is its release."""
    page = client.get(front.url)
    match = re.search(r"<title>(\w+)</title>", page.text)
    assert match
    waiting, seen = references(page), set[str]()
    while waiting:
        url = waiting.pop()
        assert url.startswith(f"{cdn}/static/"), url
        seen.add(url)
        reply = client.get(url)
        assert reply.status_code == 200, url
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert match[1] in reply.text if "/fonts/" not in url else reply.content == FONT, url
        waiting |= references(reply) - seen
    assert len(seen) == 17, seen
    return match[1]


@pytest.mark.parametrize("caching", [True, False], ids=["caching", "passing"])
def test_pages_of_two_releases(tmp_path: Path, caching: bool) -> None:
    """Each page has all of its own release, whichever server the CDN asks, whether or not it keeps any."""
    origins = ports(2)
    with ExitStack() as stack:
        nginx = stack.enter_context(edge(*origins, caching=caching))
        front = stack.enter_context(balancer(*origins))
        for port, release in zip(origins, ("one", "two"), strict=True):
            files = write(tmp_path / release, release)
            stack.enter_context(site(files, port, cdn=address(nginx), release=release))
        client = stack.enter_context(plain.Client())
        seen = [visit(client, front, address(nginx)) for _ in range(10)]
    assert any(one != other for one, other in pairwise(seen))


def test_what_the_cdn_keeps(tmp_path: Path) -> None:
    """Files, with whatever cookie one asks; no 404, for a moment later a server may have it; no page."""
    [port] = ports(1)
    with edge(port) as nginx, site(write(tmp_path / "files"), port, cdn=address(nginx)):
        logo, nowhere = "/static/img/logo.svg", "/static/js/main.000000000000.js"
        first = plain.request("HEAD", nginx.url + logo)
        assert (first.headers["x-cache"], first.headers["cache-control"]) == ("MISS", "public, max-age=60")
        again = plain.get(nginx.url + logo, headers={"Cookie": "session=1"})
        assert (again.headers["x-cache"], again.headers["access-control-allow-origin"]) == ("HIT", "*")
        for _ in range(2):
            missing = plain.get(nginx.url + nowhere)
            assert (missing.status_code, missing.headers["x-cache"]) == (404, "MISS")
            assert missing.headers["access-control-allow-origin"] == "*"
        page = plain.get(nginx.url)
        assert page.status_code == 404
        assert "x-cache" not in page.headers
