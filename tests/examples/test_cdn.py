"""The CDN examples, as real processes."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import plain
from tests.ops.child import child, wait_until
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow

CDN = "https://cdn.example.net"


@contextmanager
def server(framework: str, cdn: str) -> Iterator[str]:
    port = free_port()
    env = {**os.environ, "PORT": str(port), "CDN": cdn}
    url = f"http://127.0.0.1:{port}"
    with child("-m", f"examples.cdn_{framework}", env=env):
        wait_until(lambda: plain.answers(url), "up")
        yield url


@pytest.mark.parametrize("cdn", ["", CDN], ids=["alone", "cdn"])
@pytest.mark.parametrize("framework", ["django", "fastapi", "flask", "starlette"])
def test_a_page_and_its_files(framework: str, cdn: str) -> None:
    """The page names hashed files; each is there, for ever, and the style sheet names hashed files too."""
    with server(framework, cdn) as url:
        page = plain.get(url).text
        sources = re.findall(r'(?:src|<link [^>]*href)="([^"]+)"', page)
        assert len(sources) >= 2
        for source in sources:
            assert re.fullmatch(re.escape(cdn) + r"/static/\w+\.[0-9a-f]{12}\.\w+", source)
            file = plain.get(url + source.removeprefix(cdn))
            assert file.status_code == 200
            assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        sheet = next(source for source in sources if source.endswith(".css")).removeprefix(cdn)
        assert re.search(r'url\("logo\.[0-9a-f]{12}\.svg"\)', plain.get(url + sheet).text)
        if framework == "starlette":
            assert 'href="/static/logo.svg">the file itself' in page


def test_a_stream_arrives_as_it_is_made() -> None:
    """The FastAPI example streams a page: several chunks, all rewritten, and counted."""
    with server("fastapi", CDN) as url:
        with plain.stream("GET", f"{url}/stream") as response:
            chunks = list(response.iter_text())
        assert len(chunks) > 1
        assert "".join(chunks).count(f'"{CDN}/static/') == 4
        assert plain.get(f"{url}/counts").json() == {"pages": 2, "urls": 4}
