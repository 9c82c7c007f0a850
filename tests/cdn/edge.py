"""The CDN of docs/howto/cdn-nginx.md, and a balancer, before servers of tests.cdn.edge_site."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import plain
from tests.docs.blocks import ROOT, blocks
from tests.ops.child import child, wait_until
from tests.servers import Nginx
from tests.servers.ports import free_port

_PAGE = ROOT / "docs/howto/cdn-nginx.md"
_OURS = re.compile(r"^ *(listen|server_name|ssl_certificate|ssl_certificate_key) .*\n", re.MULTILINE)


def edge(*origins: int, caching: bool = True) -> Nginx:
    """An nginx as the page says, not started, whose servers are at these ports of this machine."""
    [code] = [block.code for block in blocks(_PAGE) if block.language == "nginx"]
    http, _, server = _OURS.sub("", code).replace("/var/cache/nginx/shop", "cache").partition("\nserver {\n")
    if not caching:
        server = server.replace("proxy_cache shop;", "proxy_cache off;")
    return Nginx(server.rstrip().removesuffix("}"), http=_with_servers(http, origins))


def balancer(*origins: int) -> Nginx:
    """An nginx, not started, that sends each request to the next server."""
    http = _with_servers("upstream shop {\n}\n", origins)
    return Nginx("location / { proxy_pass http://shop; proxy_set_header Host $http_host; }", http=http)


def _with_servers(http: str, origins: tuple[int, ...]) -> str:
    servers = "".join(f"server 127.0.0.1:{port};\n" for port in origins)
    return re.sub(r"(upstream shop \{\n)[^}]*", rf"\g<1>{servers}", http)


@contextmanager
def site(
    folder: Path, port: int, *, cdn: str, application: str = "app", release: str = "one"
) -> Iterator[None]:
    """A server on ``port`` with the files of ``folder``."""
    arguments = ("-m", "uvicorn", f"tests.cdn.edge_site:{application}", "--port", str(port))
    env = {"FOLDER": str(folder), "CDN": cdn, "RELEASE": release}
    with child(*arguments, "--log-level", "warning", env={**os.environ, **env}):
        wait_until(lambda: plain.answers(f"http://127.0.0.1:{port}/other"), application)
        yield


def ports(number: int) -> list[int]:
    """That many, none in use."""
    return [free_port() for _ in range(number)]


def address(nginx: Nginx) -> str:
    """Its address as another host than 127.0.0.1 and shop.localhost, which browsers tell apart."""
    return f"http://localhost:{nginx.port}"
