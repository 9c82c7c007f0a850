"""SeaweedFS: an S3 server that is strict about who may do what, and about what arrived."""

import json
import os
import signal
from pathlib import Path

from tests.servers import guard
from tests.servers.ports import free_port
from tests.servers.s3 import S3Server, s3_venv

# What stands behind the S3 gateway in the same process, by the options that set the ports.
_BEHIND = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
)


class SeaweedFS(S3Server):
    """Where `LocalStack` is lenient it refuses, as AWS does: requests that are signed with a wrong key, an
    hour ago, or not at all; forms whose policy or signature was changed, or with an x-amz- field that the
    policy does not name; bodies that were cut off. Of several conditional PUTs one wins.

    Lenient still: several uploads in parts may win, when they complete at one moment and each on condition
    that there is no object; a body may have no length, or not be what x-amz-content-sha256 says; metadata may
    be large; a form may have other fields more; preflights (CORS) are refused for their origin only.
    Not as AWS: it lists folder by folder, not by key, and takes no segment of a key that is a single dot or
    of more than 255 bytes.
    """

    name = "seaweedfs"
    # An orderly end takes it 16 s. What it has acknowledged is in its files.
    stop_signal = close_signal = signal.SIGKILL
    secret_key = "test-secret"

    def __init__(self) -> None:
        super().__init__()
        self._behind: dict[str, int] = {}

    @property
    def ports(self) -> dict[str, int]:
        """All its ports, by the option that sets each."""
        return {"s3.port": self.port, **self._behind}

    def choose_port(self) -> int:
        self._behind = {option: free_port() for option in _BEHIND}
        return free_port()

    @property
    def sockets(self) -> list[Path]:
        """What it listens on besides its ports, under names that it cannot be talked out of."""
        services = ("master", "volume", "filer", "s3")
        return [
            Path(f"/tmp/seaweedfs-{service}-grpc-{self.ports[f'{service}.port.grpc']}.sock")
            for service in services
        ]

    @property
    def _accounts(self) -> Path:
        return self.directory / "accounts.json"

    def prepare(self) -> None:
        keys = self.client_kwargs
        account = {
            "name": "test",
            "credentials": [
                {"accessKey": keys["aws_access_key_id"], "secretKey": keys["aws_secret_access_key"]}
            ],
            "actions": ["Admin"],
        }
        self._accounts.write_text(json.dumps({"identities": [account]}))
        for path in self.sockets:
            guard.own(path)

    def command(self) -> list[str]:
        return [
            str(s3_venv("weed") / "bin/weed"), "-logtostderr=true", "server", "-filer", "-s3",
            f"-ip={self.host}", f"-ip.bind={self.host}", f"-dir={self.directory}",
            *(f"-{option}={port}" for option, port in self.ports.items()),
            "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-filer.localSocket={self.directory / 'filer.sock'}",
            f"-s3.localSocket={self.directory / 's3.sock'}",
            f"-s3.config={self._accounts}",
            "-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false",
            "-master.electionTimeout=1s",  # nobody else stands; by default a second start takes 20 s
            "-master.volumeSizeLimitMB=1024", "-volume.max=100000",  # each bucket has volumes of its own
            "-master.telemetry=false",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Nothing of ours is inherited: WEED_* are options too."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory),
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",  # a bucket's volumes: by default seven at once
        }

    def is_ready(self) -> bool:
        if f"at http port {self.port}" not in self.log:
            return False
        try:  # S3 answers before there is a place for the first object
            _, body = self.request("GET", "/dir/status", port=self.ports["master.port"])
        except OSError:
            return False
        return json.loads(body)["Topology"]["Max"] > 0

    def create_bucket(self, name: str) -> None:
        """By the filer, which asks for no signature: a bucket is one of its directories."""
        status, body = self.request("POST", f"/buckets/{name}/", port=self.ports["filer.port"])
        assert status == 201, body

    def close(self) -> None:
        super().close()
        for path in self.sockets if self._behind else []:
            path.unlink(missing_ok=True)
            guard.disown(path)
