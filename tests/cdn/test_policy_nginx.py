"""Cache policies with nginx ``proxy_cache`` as the CDN: one that listens, and one that does not."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.conftest import MakeNginx
from tests.docs.blocks import ROOT, blocks
from tests.ops.child import PATIENCE, Child
from tests.ops.fleet import uvicorn
from tests.servers import Nginx, wait_until
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow

# As docs/howto/cdn-policy.md says.
[LISTENING] = [
    block.code
    for block in blocks(ROOT / "docs/howto/cdn-policy.md")
    if block.language == "nginx" and "location" in block.code
]
# As found in many a guide to a faster site.
CARELESS = "proxy_ignore_headers Set-Cookie Cache-Control; proxy_cache_valid any 10m;"

Visit = Callable[..., httpx.Response]


@pytest.fixture
def origin() -> Iterator[tuple[int, Child]]:
    port = free_port()
    with uvicorn(port, app="tests.cdn.policy_app:app") as child:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/plain"), what="the origin", timeout=PATIENCE)
        yield port, child


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def edge(nginx: MakeNginx, origin: tuple[int, Child]) -> Callable[..., Nginx]:
    def make(careless: str = "") -> Nginx:
        server = LISTENING.replace("http://shop", f"http://127.0.0.1:{origin[0]}")
        server = server.rstrip().removesuffix("}") + careless + "}"
        return nginx(server, http="proxy_cache_path cache keys_zone=shop:1m;")

    return make


def visit(cdn: Nginx, path: str, **headers: str) -> tuple[str, str]:
    """Whether the CDN had it, and what it is; by a visitor with nothing but these headers."""
    reply = httpx.get(cdn.url + path, headers=headers, timeout=PATIENCE)
    return reply.headers["x-cache"], reply.text


def test_only_what_is_opted_in_is_kept(edge: Callable[..., Nginx]) -> None:
    """That for all visitors, with cookies and without; errors, private pages and the rest for none."""
    cdn = edge()
    assert visit(cdn, "/news") == ("MISS", "/news 1")
    assert visit(cdn, "/news") == visit(cdn, "/news", Cookie="theme=dark") == ("HIT", "/news 1")
    assert [visit(cdn, "/plain")[0] for _ in range(2)] == ["MISS", "MISS"]
    assert [visit(cdn, "/failing") for _ in range(2)] == [("MISS", "failed")] * 2
    for path in ("/account", "/greeting"):
        first, second = visit(cdn, path), visit(cdn, path)
        assert (first[0], second[0]) == ("MISS", "MISS")
        assert first[1] != second[1], "one visitor was given another's page"


def test_queries_share_a_copy(edge: Callable[..., Nginx]) -> None:
    """Each is sent to the form that it has in common with the others."""
    cdn = edge()
    with httpx.Client(base_url=cdn.url, follow_redirects=True, timeout=PATIENCE) as browser:
        replies = [browser.get(f"/list?{query}page=2") for query in ("utm_source=a&", "", "fbclid=b&x=y&")]
    assert {reply.text for reply in replies} == {"/list 1"}
    assert [str(reply.url) for reply in replies] == [f"{cdn.url}/list?page=2"] * 3


def test_a_stale_page_while_the_origin_is_down(edge: Callable[..., Nginx], origin: tuple[int, Child]) -> None:
    """``stale_if_error``: the CDN goes on with what it has, when its time is over, too."""
    cdn = edge()
    _, page = visit(cdn, "/short")
    origin[1].process.kill()
    origin[1].process.wait()
    wait_until(lambda: visit(cdn, "/short") == ("STALE", page), what="a stale page", timeout=PATIENCE)
    assert httpx.get(f"{cdn.url}/plain", timeout=PATIENCE).status_code == 502


def test_what_a_careless_cdn_would_keep(edge: Callable[..., Nginx]) -> None:
    """With ``proxy_ignore_headers Set-Cookie Cache-Control`` the second visitor gets the first one's page,
    and with the first one's cookie their session: whatever an origin says, such a CDN does not hear it.
    """
    cdn = edge(CARELESS)
    first = httpx.get(f"{cdn.url}/account", timeout=PATIENCE)
    assert first.headers["cache-control"] == "max-age=600, private"
    second = httpx.get(f"{cdn.url}/account", timeout=PATIENCE)
    assert second.headers["x-cache"] == "HIT"
    assert second.text == first.text == "visitor 1"
    assert second.headers["set-cookie"] == first.headers["set-cookie"]
    stolen = second.headers["set-cookie"].partition(";")[0]
    assert visit(cdn, "/greeting", Cookie=stolen) == ("MISS", "visitor 1")
    assert visit(cdn, "/failing")[0] == "MISS"
    assert visit(cdn, "/failing")[0] == "HIT"
