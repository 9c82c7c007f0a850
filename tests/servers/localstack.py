"""LocalStack: an S3 server that minds buckets, parts and conditions, but hardly who is asking."""

import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

from tests.servers.base import PortTaken
from tests.servers.ports import is_served
from tests.servers.s3 import S3Server, s3_venv

_CACHES = (".cache/plux", "var/lib/localstack/cache")
"""What a first start computes for six seconds and a second one finds, below the server's directory."""

_RUN = """
from localstack.services.s3 import provider
from localstack.runtime.main import main
import tempfile
provider.DEFAULT_S3_TMP_DIR = tempfile.gettempdir() + "/objects"  # else all servers share one in /tmp
main()
"""


class LocalStack(S3Server):
    """It checks signatures and expiry of presigned URLs, and has ETags, multipart uploads, checksums,
    conditional writes and CORS.

    It checks no other signature: not of requests with a header (whatever the keys), not of forms (a policy
    that was changed is obeyed). It stores what came of a body that was cut off. It enforces no rights.
    """

    name = "localstack"
    close_signal = signal.SIGKILL  # it takes seconds to say goodbye

    def command(self) -> list[str]:
        return [str(s3_venv("localstack", "python") / "bin/python"), "-c", _RUN]

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

    def create_bucket(self, name: str) -> None:
        status, body = self.request("PUT", f"/{name}")
        assert status == 200, body
