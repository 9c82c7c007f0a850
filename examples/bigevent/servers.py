"""The servers around the shop, all real: nginx twice, Redis, PostgreSQL, S3."""

import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.bigevent.databases import Databases
from examples.bigevent.redises import Redis
from tests.servers import Nginx, SeaweedFS, scratch

BUCKET = "photos"

_UPSTREAM = """
    upstream shop {{ {servers} keepalive 64; }}
    {more}
"""

_PASS = """
        proxy_pass http://shop;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host localhost;
        proxy_set_header X-Request-Start "t=${{msec}}";
        proxy_connect_timeout 2s;
        proxy_read_timeout 30s;
        proxy_next_upstream {next};
"""

_FRONT = """
    access_log off;
    client_max_body_size 8m;
    keepalive_requests 1000000;
    add_header X-Server $upstream_addr always;
    location = /metrics {{ return 404; }}
    location /static/ {{ {files} }}
    location / {{ {pages} }}
"""

_CDN_CACHE = "proxy_cache_path cache levels=1:2 keys_zone=shop:1m max_size=64m inactive=1d use_temp_path=off;"

_CDN = """
    access_log off;
    keepalive_requests 1000000;
    location /static/ {{
        {files}
        proxy_set_header Cookie "";
        proxy_cache shop;
        proxy_cache_key $request_uri;
        proxy_cache_lock on;
        proxy_cache_use_stale error timeout http_500 http_502 http_503 http_504;
    }}
    location / {{ return 404; }}
"""


class Servers:
    """Everything but the shop itself, as a context manager; `start` is inside of it.

    Args:
        redis: for sessions and cache.
    """

    def __init__(self, redis: Redis) -> None:
        files = _PASS.format(next="error timeout http_404")  # in a deployment the next server may have it
        # As most balancers that one rents: what the fleet loses shows, and is not hidden by asking again.
        pages = _PASS.format(next="off")
        self.front = Nginx(_FRONT.format(files=files, pages=pages), http=_upstream([]))
        self.cdn = Nginx(_CDN.format(files=files), http=_upstream([], _CDN_CACHE))
        self.redis = redis
        self.s3 = SeaweedFS()
        self.databases = Databases()
        self._stack = ExitStack()

    def start(self) -> None:
        with ThreadPoolExecutor() as pool:
            started = [
                pool.submit(self._stack.enter_context, each)
                for each in (self.front, self.cdn, self.redis.group, self.s3, self.databases)
            ]
            for each in started:
                each.result()
        self.s3.create_bucket(BUCKET)
        self.scratch = scratch.make_directory("bigevent")
        self.scratch.chmod(0o755)
        self._stack.callback(scratch.remove_directory, self.scratch)

    def route(self, ports: Sequence[int]) -> None:
        """Have both nginx send to these processes. A reload breaks no request."""
        self.front.http, self.cdn.http = _upstream(ports), _upstream(ports, _CDN_CACHE)
        for nginx in (self.front, self.cdn):
            nginx.prepare()
            if nginx.running:
                os.kill(nginx.pid, signal.SIGHUP)

    def release(self, number: int) -> Path:
        """A folder with the assets of a release; each says which release it is of."""
        folder = self.scratch / f"release-{number}"
        if folder.exists():  # a file that changes under a process is no longer immutable to it
            return folder
        folder.mkdir()
        said = f"release {number}"
        (folder / "site.css").write_text(f"/* {said} */ body {{ margin: 0 auto; max-width: 60rem }}\n")
        (folder / "shop.js").write_text(f"// {said}\n")
        (folder / "logo.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg"><!-- {said} --></svg>\n')
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _upstream(ports: Sequence[int], more: str = "") -> str:
    servers = " ".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=1s;" for port in ports)
    return _UPSTREAM.format(servers=servers or "server 127.0.0.1:1;", more=more)
