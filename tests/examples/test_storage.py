"""The storage examples, as real processes: two servers each, which share what was uploaded."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests import plain
from tests.ops.child import child, wait_until
from tests.servers.ports import free_port
from tests.storage.helpers import PNG

pytestmark = pytest.mark.slow


def _environment(where: str, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    if where == "folder":
        return {**os.environ, "UPLOADS": str(tmp_path / "uploads")}
    options = request.getfixturevalue("s3_server").client_kwargs
    return {
        **os.environ,
        "S3_BUCKET": request.getfixturevalue("bucket"),
        "AWS_ENDPOINT_URL": options["endpoint_url"],
        "AWS_DEFAULT_REGION": options["region_name"],
        "AWS_ACCESS_KEY_ID": options["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": options["aws_secret_access_key"],
    }


@pytest.mark.parametrize(
    ("framework", "where"),
    [("fastapi", "folder"), ("fastapi", "s3"), ("starlette", "folder"), ("flask", "folder"), ("flask", "s3")],
)
def test_two_servers_share_uploads(
    framework: str, where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What one server took, the other shows; what is no image is refused with its status."""
    env = _environment(where, request, tmp_path)
    ports = free_port(), free_port()
    one, two = (f"http://127.0.0.1:{port}" for port in ports)
    module = f"examples.storage_{framework}"
    photo: dict[str, Any] = {"files": {"photo": ("cat.png", PNG, "image/png")}, "data": {"title": "Cat"}}
    page: dict[str, Any] = {"files": {"photo": ("cat.png", b"<html>", "image/png")}, "data": {"title": "Cat"}}
    with (
        child("-m", module, env=env | {"PORT": str(ports[0])}),
        child("-m", module, env=env | {"PORT": str(ports[1])}),
    ):
        wait_until(lambda: plain.answers(f"{one}/photos"), "the first is up")
        wait_until(lambda: plain.answers(f"{two}/photos"), "the second is up")
        taken = plain.post(f"{one}/photos", **photo)
        assert taken.is_success, taken.text
        url = taken.json()[0] if framework == "starlette" else taken.json()["url"]
        shown = plain.get(url if url.startswith("http") else two + url)
        assert (shown.status_code, shown.content) == (200, PNG)
        assert shown.headers["content-type"] == "image/png"
        assert plain.post(f"{one}/photos", **page).status_code == 415
        assert len(plain.get(f"{two}/photos").json()) == 1


def test_tickets_and_resuming(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The FastAPI example grants tickets for S3, and takes a resumable upload over two servers."""
    env = _environment("s3", request, tmp_path)
    ports = free_port(), free_port()
    one, two = (f"http://127.0.0.1:{port}" for port in ports)
    tus = {"tus-resumable": "1.0.0", "content-type": "application/offset+octet-stream"}
    with (
        child("-m", "examples.storage_fastapi", env=env | {"PORT": str(ports[0])}),
        child("-m", "examples.storage_fastapi", env=env | {"PORT": str(ports[1])}),
    ):
        wait_until(lambda: plain.answers(f"{one}/photos"), "the first is up")
        wait_until(lambda: plain.answers(f"{two}/photos"), "the second is up")
        ticket = plain.post(f"{one}/tickets").json()
        sent = plain.post(ticket["url"], data=ticket["fields"], files={"file": ("a.png", PNG, "image/png")})
        assert sent.status_code == 201
        assert plain.get(f"{two}/photos").json() == [ticket["key"]]
        created = plain.post(
            f"{one}/uploads/", headers=tus | {"upload-length": str(len(PNG))}, content=PNG[:50]
        )
        path = created.headers["location"]
        done = plain.patch(two + path, headers=tus | {"upload-offset": "50"}, content=PNG[50:])
        assert done.status_code == 204
        assert len(plain.get(f"{one}/photos").json()) == 2
