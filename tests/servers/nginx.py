"""nginx, as a reverse proxy, a cache or a web server in front of an application."""

import signal

from tests.servers.base import Server
from tests.servers.processes import tree
from tests.servers.programs import find_program

_CONFIG = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
events {{ worker_connections 1024; }}
http {{
    access_log access.log;
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;
    types {{
        text/html html;
        text/css css;
        text/javascript js mjs;
        image/png png;
        image/svg+xml svg;
    }}
    {http}
    server {{
        listen {host}:{port};
        server_name localhost;
        {server}
    }}
}}
"""


class Nginx(Server):
    """One nginx with one server block.

    `server` are the directives within it, `http` those beside it::

        Nginx("location / { proxy_pass http://127.0.0.1:8000; proxy_cache c; }",
              http="proxy_cache_path cache keys_zone=c:1m;")

    Relative paths are below ``.directory``.
    """

    name = "nginx"
    stop_signal = signal.SIGQUIT  # finishes the requests that are under way

    def __init__(self, server: str, *, http: str = "", port: int | None = None) -> None:
        super().__init__(port=port)
        self.server, self.http = server, http

    def prepare(self) -> None:
        config = _CONFIG.format(host=self.host, port=self.port, http=self.http, server=self.server)
        (self.directory / "nginx.conf").write_text(config)
        temporary = self.directory / "tmp"
        if not temporary.exists():
            temporary.mkdir()
            temporary.chmod(0o777)  # inside a directory that only the server's account and root enter

    def command(self) -> list[str]:
        program = find_program("nginx", cure="apt-get install --no-install-recommends nginx-light")
        return [program, "-e", "stderr", "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]

    def is_ready(self) -> bool:
        try:  # written after the port was bound, and before there is a worker
            master = (self.directory / "nginx.pid").read_text().strip()
        except FileNotFoundError:
            return False
        return master == str(self.pid) and len(tree(self.pid)) > 1

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``, without a slash at the end."""
        return f"http://{self.host}:{self.port}"
