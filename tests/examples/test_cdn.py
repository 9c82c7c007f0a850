"""The CDN examples, as real processes."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.ops.child import child, wait_until
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow

CDN = "https://cdn.example.net"


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def server(framework: str, cdn: str) -> Iterator[str]:
    port = free_port()
    env = {**os.environ, "PORT": str(port), "CDN": cdn}
    url = f"http://127.0.0.1:{port}"
    with child("-m", f"examples.cdn_{framework}", env=env):
        wait_until(lambda: answers(url), "up")
        yield url


@pytest.mark.parametrize("cdn", ["", CDN], ids=["alone", "cdn"])
@pytest.mark.parametrize("framework", ["fastapi", "flask", "starlette"])
def test_a_page_and_its_files(framework: str, cdn: str) -> None:
    """The page names hashed files; each is there, for ever, and the style sheet names hashed files too."""
    with server(framework, cdn) as url:
        page = httpx.get(url).text
        sources = re.findall(r'(?:src|<link [^>]*href)="([^"]+)"', page)
        assert len(sources) >= 2
        for source in sources:
            assert re.fullmatch(re.escape(cdn) + r"/static/\w+\.[0-9a-f]{12}\.\w+", source)
            file = httpx.get(url + source.removeprefix(cdn))
            assert file.status_code == 200
            assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        sheet = next(source for source in sources if source.endswith(".css")).removeprefix(cdn)
        assert re.search(r'url\("logo\.[0-9a-f]{12}\.svg"\)', httpx.get(url + sheet).text)
        if framework == "starlette":
            assert 'href="/static/logo.svg">the file itself' in page


def test_a_stream_arrives_as_it_is_made() -> None:
    """The FastAPI example streams a page: several chunks, all rewritten, and counted."""
    with server("fastapi", CDN) as url:
        with httpx.stream("GET", f"{url}/stream") as response:
            chunks = list(response.iter_text())
        assert len(chunks) > 1
        assert "".join(chunks).count(f'"{CDN}/static/') == 4
        assert httpx.get(f"{url}/counts").json() == {"pages": 2, "urls": 4}
