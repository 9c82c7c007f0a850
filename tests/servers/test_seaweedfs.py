"""SeaweedFS: strict where LocalStack is lenient, or the tests that rest on that prove nothing."""

import base64
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import plain
from tests.servers import S3Server, SeaweedFS, ServerMissing
from tests.servers.processes import alive, tree

boto3 = pytest.importorskip("boto3", reason="the client comes with scalekit[s3]")

PART = 5 << 20  # bytes, the least that a part but the last may have


@pytest.fixture
def s3_server(strict_s3_server: S3Server) -> S3Server:
    """That of ``bucket``."""
    return strict_s3_server


def connect(server: S3Server, **changed: str) -> Any:
    """A client that signs as AWS wants it, and tries once: by default it repeats what the server refuses."""
    from botocore.config import Config

    config = Config(signature_version="s3v4", retries={"max_attempts": 0})
    return closing(boto3.client("s3", config=config, **server.client_kwargs | changed))


@pytest.fixture
def client(s3_server: S3Server) -> Iterator[Any]:
    with connect(s3_server) as client:
        yield client


def refusal(call: Any, **arguments: Any) -> str:
    """The code of the error that S3 answers."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        call(**arguments)
    code: str = caught.value.response["Error"]["Code"]
    return code


def uploaded(client: Any, bucket: str, key: str, *contents: bytes) -> dict[str, Any]:
    """The arguments that complete an upload of these parts."""
    upload = {"Bucket": bucket, "Key": key}
    upload["UploadId"] = client.create_multipart_upload(**upload)["UploadId"]
    parts = [
        {"PartNumber": number, "ETag": client.upload_part(**upload, PartNumber=number, Body=content)["ETag"]}
        for number, content in enumerate(contents, 1)
    ]
    return upload | {"MultipartUpload": {"Parts": parts}}


def test_stores_and_returns(client: Any, bucket: str) -> None:
    """An object comes back as it was, whole or in parts."""
    client.put_object(Bucket=bucket, Key="a/b", Body=b"data", ContentType="text/x")
    got = client.get_object(Bucket=bucket, Key="a/b")
    assert (got["Body"].read(), got["ContentType"]) == (b"data", "text/x")
    client.complete_multipart_upload(**uploaded(client, bucket, "large", b"x" * PART, b"end"))
    assert client.get_object(Bucket=bucket, Key="large", Range="bytes=-4")["Body"].read() == b"xend"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"aws_secret_access_key": "guessed"}, "SignatureDoesNotMatch"),
        ({"aws_access_key_id": "nobody"}, "InvalidAccessKeyId"),
    ],
    ids=["secret", "name"],
)
def test_keys_are_checked(s3_server: S3Server, bucket: str, wrong: dict[str, str], code: str) -> None:
    """A request that is signed with a wrong key is refused."""
    with connect(s3_server, **wrong) as client:
        assert refusal(client.put_object, Bucket=bucket, Key="key", Body=b"data") == code


def test_nothing_goes_unsigned(s3_server: S3Server, client: Any, bucket: str) -> None:
    """Without a signature nothing is read, written or listed."""
    client.put_object(Bucket=bucket, Key="key", Body=b"data")
    for method, path in (("GET", "key"), ("PUT", "other"), ("DELETE", "key"), ("GET", "")):
        assert s3_server.request(method, f"/{bucket}/{path}")[0] == 403
    assert [found["Key"] for found in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["key"]


def test_forms_are_checked(client: Any, bucket: str) -> None:
    """19. A form is taken as it was signed: not with another policy, signature, size or a field more."""
    post = client.generate_presigned_post(
        bucket, "up/key", Conditions=[["content-length-range", 1, 10]], ExpiresIn=600
    )
    policy = json.loads(base64.b64decode(post["fields"]["policy"]))
    policy["conditions"][0] = ["content-length-range", 1, 1000]
    tampered = base64.b64encode(json.dumps(policy).encode()).decode()
    for changed, content in (
        ({"policy": tampered}, b"x" * 11),
        ({"x-amz-signature": "0" * 64}, b"x"),
        ({"x-amz-meta-role": "admin"}, b"x"),
        ({"key": "elsewhere"}, b"x"),
        ({}, b"x" * 11),
    ):
        fields = post["fields"] | changed
        assert plain.post(post["url"], data=fields, files={"file": content}).status_code in (400, 403), (
            changed
        )
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)
    assert plain.post(post["url"], data=post["fields"], files={"file": b"x"}).status_code == 204


def test_half_a_body_is_no_object(client: Any, bucket: str, s3_server: S3Server) -> None:
    """A connection that ends within the body leaves nothing."""
    url = urlsplit(client.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "half"}))
    with socket.create_connection((s3_server.host, s3_server.port), timeout=30) as connection:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 500)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # until it has made up its mind
            pass
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)


def test_parts_are_checked(client: Any, bucket: str) -> None:
    """8. A part but the last of less than 5 MiB, one that never came, the wrong order: no object."""
    complete = client.complete_multipart_upload
    assert refusal(complete, **uploaded(client, bucket, "a", b"x" * (PART - 1), b"end")) == "EntityTooSmall"
    right = uploaded(client, bucket, "a", b"x" * PART, b"end")
    parts = right["MultipartUpload"]["Parts"]
    lost = {"Parts": [parts[0], parts[1] | {"PartNumber": 3}]}
    assert refusal(complete, **right | {"MultipartUpload": lost}) == "InvalidPart"
    assert refusal(complete, **right | {"MultipartUpload": {"Parts": parts[::-1]}}) == "InvalidPartOrder"
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)
    complete(**right)


def test_checksums_are_checked(client: Any, bucket: str) -> None:
    """17. Content that does not match the checksum beside it is refused, of an object and of a part."""
    upload = {"Bucket": bucket, "Key": "key"}
    upload_id = client.create_multipart_upload(**upload, ChecksumAlgorithm="SHA256")["UploadId"]
    of_nothing = {"ChecksumSHA256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
    part = {"UploadId": upload_id, "PartNumber": 1}
    assert refusal(client.upload_part, **upload, **part, Body=b"data", **of_nothing) == "BadDigest"
    for wrong in (of_nothing, {"ChecksumCRC32": "AAAAAA=="}, {"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}):
        assert refusal(client.put_object, **upload, Body=b"data", **wrong) == "BadDigest"
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)


def test_one_of_many_creates_wins(client: Any, bucket: str) -> None:
    """16. Of conditional PUTs of one key one wins; what completes an upload after it is refused, too."""
    from botocore.exceptions import ClientError

    late = uploaded(client, bucket, "key", b"late")

    def create(content: bytes) -> str:
        try:
            client.put_object(Bucket=bucket, Key="key", Body=content, IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "stored"

    contents = [b"%d" % number for number in range(6)]
    with ThreadPoolExecutor(len(contents)) as pool:
        outcomes = list(pool.map(create, contents))
    assert sorted(outcomes) == ["PreconditionFailed"] * 5 + ["stored"]
    assert refusal(client.complete_multipart_upload, **late, IfNoneMatch="*") == "PreconditionFailed"
    kept = client.get_object(Bucket=bucket, Key="key")["Body"].read()
    assert kept == contents[outcomes.index("stored")]


@pytest.mark.slow
def test_comes_back_and_goes_away() -> None:
    """Where a port is taken it takes others; after a kill it has its objects; closed, it leaves nothing."""
    server = SeaweedFS()
    with socket.socket() as squatter:
        first = server.ports
        squatter.bind((server.host, first["volume.port"]))
        squatter.listen()
        with server:
            assert set(server.ports.values()).isdisjoint(first.values())
            server.create_bucket("mine")
            with connect(server) as client:
                client.put_object(Bucket="mine", Key="key", Body=b"data")
                server.stop()
                server.start()
                assert client.get_object(Bucket="mine", Key="key")["Body"].read() == b"data"
            pids, directory, sockets = tree(server.pid), server.directory, server.sockets
            assert all(path.exists() for path in (directory, *sockets))
    assert not alive(pids)
    assert not any(path.exists() for path in (directory, *sockets))


def test_a_missing_one_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the program the error names the command that installs it."""
    monkeypatch.setenv("SCALEKIT_S3_VENV", "/nonexistent")
    server = SeaweedFS()
    with pytest.raises(ServerMissing, match=r"weed.*\./dev test"):
        server.start()
