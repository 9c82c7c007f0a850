"""An S3 server: LocalStack in a virtual environment of its own, whose pins would fit nobody else's."""

import http.client
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

from tests.servers.base import PortTaken, Server, ServerMissing
from tests.servers.ports import is_served

_ROOT = Path(__file__).parents[2]


_CACHES = (".cache/plux", "var/lib/localstack/cache")
"""What a first start computes for six seconds and a second one finds, below the server's directory."""

_RUN = """
from localstack.services.s3 import provider
from localstack.runtime.main import main
import tempfile
provider.DEFAULT_S3_TMP_DIR = tempfile.gettempdir() + "/objects"  # else all servers share one in /tmp
main()
"""


def s3_venv() -> Path:
    """The virtual environment that has LocalStack: SCALEKIT_S3_VENV, or .venv-s3 in the repository."""
    venv = Path(os.environ.get("SCALEKIT_S3_VENV") or _ROOT / ".venv-s3")
    if not ((venv / "bin/localstack").exists() and os.access(venv / "bin/python", os.X_OK)):
        raise ServerMissing(
            f"the S3 server (LocalStack in {venv.name})", cure="./dev test --notest installs it"
        )
    return venv


class S3Server(Server):
    """S3 in region us-east-1 that keeps objects until it is closed.

    It checks signatures and expiry of presigned URLs, and has ETags, multipart uploads, conditional
    writes and CORS; it enforces no bucket policies and no rights.
    """

    name = "s3"
    close_signal = signal.SIGKILL  # it takes seconds to say goodbye
    drops_root = False  # the environment may lie where only root can read

    def command(self) -> list[str]:
        return [str(s3_venv() / "bin/python"), "-c", _RUN]

    def prepare(self) -> None:
        if is_served(self.port):  # it would not say so, and wait for ever
            raise PortTaken(f"port {self.port}: address already in use")
        (self.directory / "tmp").mkdir(exist_ok=True)
        cache = s3_venv() / "scalekit-cache"
        if cache.exists():
            shutil.copytree(cache, self.directory, dirs_exist_ok=True)

    def wait_ready(self) -> None:
        super().wait_ready()
        self._keep_caches()

    def _keep_caches(self) -> None:
        """For the next start. Whole by a rename: it is not safe for two servers to share one as it is."""
        venv = s3_venv()
        cache = venv / "scalekit-cache"
        if cache.exists() or not os.access(venv, os.W_OK):
            return
        making = Path(tempfile.mkdtemp(prefix="scalekit-cache-", dir=venv))
        try:
            for name in _CACHES:
                shutil.copytree(self.directory / name, making / name)
            making.chmod(0o755)
            making.rename(cache)
        except OSError:  # another run was faster
            shutil.rmtree(making)

    def environment(self) -> dict[str, str]:
        """Nothing of ours is inherited: an AWS_PROFILE or a LOCALSTACK_* must not change what tests see."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory / "tmp"),
            "FILESYSTEM_ROOT": str(self.directory),
            "CONFIG_DIR": str(self.directory / "config"),
            "OVERRIDE_IN_DOCKER": "0",  # in a container it would write to /var/lib and listen on 0.0.0.0
            "SERVICES": "s3",
            "EAGER_SERVICE_LOADING": "1",  # so that the first request is not the slow one
            "GATEWAY_SERVER": "hypercorn",  # its default listens on 0.0.0.0 whatever it is told
            "GATEWAY_LISTEN": f"{self.host}:{self.port}",
            "S3_SKIP_SIGNATURE_VALIDATION": "0",
            # It stays on this machine: no events, no certificate download, no DNS server.
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "DNS_ADDRESS": "0",
        }

    def is_ready(self) -> bool:
        if f"Running on https://{self.host}:{self.port}" not in self.log:  # ours, not a stranger on the port
            return False
        try:
            status, body = self.request("GET", "/_localstack/health")
        except OSError:
            return False
        return status == 200 and json.loads(body)["services"]["s3"] == "running"

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One unsigned request: status and body."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def create_bucket(self, name: str) -> None:
        status, body = self.request("PUT", f"/{name}")
        assert status == 200, body

    @property
    def endpoint_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def client_kwargs(self) -> dict[str, str]:
        """For ``boto3.client("s3", **kwargs)`` and ``aioboto3.Session().client("s3", **kwargs)``."""
        return {
            "endpoint_url": self.endpoint_url,
            "region_name": "us-east-1",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
        }
