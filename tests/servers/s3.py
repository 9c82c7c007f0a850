"""What the S3 servers share: where they are installed, and how a client reaches them."""

import http.client
import os
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from tests.servers.base import Server, ServerMissing

_ROOT = Path(__file__).parents[2]


def s3_venv(*programs: str) -> Path:
    """The virtual environment that has `programs`: SCALEKIT_S3_VENV, or .venv-s3 in the repository.

    It is one of their own, because LocalStack's pins would fit nobody else's.
    """
    venv = Path(os.environ.get("SCALEKIT_S3_VENV") or _ROOT / ".venv-s3")
    for program in programs:
        if not os.access(venv / "bin" / program, os.X_OK):
            raise ServerMissing(
                f"the S3 server ({program} in {venv.name})", cure="./dev test --notest installs it"
            )
    return venv


class S3Server(Server):
    """S3 in region us-east-1 that keeps objects until it is closed."""

    drops_root = False  # the environment may lie where only root can read
    secret_key: ClassVar[str] = "test"

    @abstractmethod
    def create_bucket(self, name: str) -> None:
        """Make an empty bucket."""

    def request(
        self, method: str, path: str, body: bytes | None = None, *, port: int | None = None
    ) -> tuple[int, bytes]:
        """One unsigned request, to S3 or to another `port` of this server: status and body."""
        connection = http.client.HTTPConnection(self.host, port or self.port, timeout=10)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

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
            "aws_secret_access_key": self.secret_key,
        }
