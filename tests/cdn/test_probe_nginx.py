"""Behind a real nginx as CDN: stopped, frozen, started again; and the way to it, with TLS and without."""

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from scalekit.cdn import Assets, CdnProbe, HtmlRewriter
from scalekit.cdn._fetch import fetch
from scalekit.cdn.wsgi import AssetFiles
from tests.cdn.drivers import Response, Shell
from tests.faults.processes import freeze
from tests.servers import Nginx
from tests.servers.ports import free_port
from tests.servers.programs import find_program
from tests.servers.waiting import wait_until

pytestmark = pytest.mark.slow

PAGE = b"<img src=/static/logo.png>"


class _Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture(scope="module")
def origin(folder: Path) -> Iterator[str]:
    """The application's files, on a port of their own."""
    application: Any = AssetFiles(Assets(folder))
    with make_server("127.0.0.1", 0, application, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def nginx(origin: str) -> Iterator[Nginx]:
    """A CDN that pulls from it."""
    location = (
        f"location / {{ proxy_pass {origin}; proxy_cache edge; add_header X-Cache $upstream_cache_status; }}"
    )
    with Nginx(location, http="proxy_cache_path cache keys_zone=edge:1m;") as server:
        yield server


def pages_at(shell: Shell, assets: Assets, probe: CdnProbe) -> Callable[[str | None], None]:
    """Waits until pages have their files there."""

    def wait(cdn: str | None) -> None:
        want = HtmlRewriter(assets.at(cdn)).rewrite(PAGE)
        wait_until(
            lambda: shell.page(assets, Response([PAGE]), options={"probe": probe}).body == want,
            what=f"pages with files at {cdn}",
        )

    return wait


def test_pages_follow_a_real_cdn(folder: Path, nginx: Nginx, shell: Shell) -> None:
    """With the CDN stopped or frozen the next pages have their files from the application, and go back."""
    assets = Assets(folder, cdn=nginx.url)
    probe = CdnProbe(assets, interval=1.0, timeout=0.4)
    wait = pages_at(shell, assets, probe)
    try:
        wait(nginx.url)
        nginx.stop()
        wait(None)
        nginx.start()
        wait(nginx.url)
        with freeze(nginx):
            wait(None)
        wait(nginx.url)
    finally:
        probe.close()
    assert assets.counts["cdn-down"] >= 2


def test_what_the_cdn_has_not(folder: Path, nginx: Nginx) -> None:
    """A CDN that answers, and does not have the file, is as good as none."""
    assets = Assets(folder, cdn=nginx.url)
    assert fetch(assets.url("logo.png"), timeout=30) == (200, "image/png")
    assert fetch(nginx.url + "/static/logo.000000000000.png", timeout=30)[0] == 404
    assert CdnProbe(assets.at(nginx.url + "/wrong"), interval=90, timeout=30)._try() == "status 404"


def test_with_tls(folder: Path, origin: str) -> None:
    """A certificate is checked against the system's authorities, or those that one is given."""
    openssl = find_program("openssl", cure="apt-get install openssl")
    port = free_port()
    secure = f"listen 127.0.0.1:{port} ssl; ssl_certificate_key key.pem; ssl_certificate certificate.pem;"
    server = Nginx(f"{secure} location / {{ proxy_pass {origin}; }}")
    certificate, key = server.directory / "certificate.pem", server.directory / "key.pem"
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o644)  # for the account that the server runs as
    with server:
        assets = Assets(folder, cdn=f"https://localhost:{port}")
        context = ssl.create_default_context(cafile=str(certificate))
        assert fetch(assets.url("logo.png"), timeout=30, context=context) == (200, "image/png")
        with pytest.raises(ssl.SSLCertVerificationError):
            fetch(assets.url("logo.png"), timeout=30)
        assert CdnProbe(assets, fetch=partial(fetch, context=context), interval=90, timeout=30)._try() is None
        assert "SSLCertVerificationError" in str(CdnProbe(assets, interval=90, timeout=30)._try())
