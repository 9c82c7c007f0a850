"""LocalStack."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.servers import LocalStack, S3Server, ServerMissing
from tests.servers.processes import alive, tree

pytest.importorskip("boto3", reason="the client comes with scalekit[s3]")


def test_stores_and_returns(s3_server: S3Server, bucket: str) -> None:
    """An object comes back as it was, by boto3's client."""
    import boto3

    client = boto3.client("s3", **s3_server.client_kwargs)
    try:
        client.put_object(Bucket=bucket, Key="a/b", Body=b"data", ContentType="text/x")
        got = client.get_object(Bucket=bucket, Key="a/b")
        assert (got["Body"].read(), got["ContentType"]) == (b"data", "text/x")
    finally:
        client.close()


def test_checks_presigned_urls(s3_server: S3Server, bucket: str) -> None:
    """A presigned URL is good for its own key only."""
    import boto3

    client = boto3.client("s3", **s3_server.client_kwargs)
    try:
        client.put_object(Bucket=bucket, Key="key", Body=b"data")
        client.put_object(Bucket=bucket, Key="other", Body=b"data")
        url = urlsplit(client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "key"}))
    finally:
        client.close()
    path = f"{url.path}?{url.query}"
    assert s3_server.request("GET", path) == (200, b"data")
    status, body = s3_server.request("GET", path.replace("/key?", "/other?"))
    assert (status, b"SignatureDoesNotMatch" in body) == (403, True)


def test_goes_away() -> None:
    """A server of one's own answers, keeps its files to itself, and leaves nothing."""
    with LocalStack() as server:
        server.create_bucket("mine")
        assert server.request("PUT", "/mine/key", b"data")[0] == 200
        pids, directory = tree(server.pid), server.directory
        assert (directory / "tmp/objects/mine").exists()
    assert not alive(pids)
    assert not directory.exists()


def test_a_taken_port_is_exchanged_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """LocalStack does not notice that somebody has its port; ours does."""
    server = LocalStack()
    tried: list[int] = []
    monkeypatch.setattr(
        server, "wait_ready", lambda: tried.append(server.port)
    )  # without the seconds it takes
    with socket.socket() as squatter:
        squatter.bind((server.host, server.port))
        squatter.listen()
        taken = server.port
        with server:
            assert tried == [server.port]
            assert taken not in tried


def test_a_missing_one_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the environment the error names the command that makes it."""
    monkeypatch.setenv("SCALEKIT_S3_VENV", "/nonexistent")
    server = LocalStack()
    directory = server.directory
    with pytest.raises(ServerMissing, match=r"\./dev test"):
        server.start()
    assert not directory.exists()
