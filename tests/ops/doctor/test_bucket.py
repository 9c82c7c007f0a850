"""Buckets and disks that uploads should not go to as they are."""

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from scalekit.ops.doctor import Around, Finding, examine
from scalekit.ops.doctor.bucket import file_system, judge, judge_disk
from tests.ops.doctor.apps import bare, codes, loaded, look

MOUNTS = """\
overlay / overlay rw 0 0
tmpfs /media tmpfs rw 0 0
server:/export /media/with\\040space nfs4 rw 0 0
/dev/sda1 /media/with\\040space/disk ext4 rw 0 0
"""


@pytest.fixture
def s3(s3_server: Any, bucket: str) -> Any:
    pytest.importorskip("aioboto3")
    from scalekit.storage.s3 import S3Storage

    return lambda name=bucket: S3Storage(name, prefix="photos/", **s3_server.client_kwargs)


def cure(storage: Any, found: list[Finding]) -> None:
    """Do what the commands would."""

    async def work() -> None:
        async with storage:
            client = await storage.client()
            for one in found:
                words = shlex.split(one.cure)
                setting = json.loads(words[-1])
                if words[2] == "put-bucket-cors":
                    await client.put_bucket_cors(Bucket=words[4], CORSConfiguration=setting)
                else:
                    await client.put_bucket_lifecycle_configuration(
                        Bucket=words[4], LifecycleConfiguration=setting
                    )

    asyncio.run(work())


def test_a_bucket_without_rules(s3: Any) -> None:
    """No rule aborts what nobody completes; and pages of the site may not upload straight to it, where they
    do. The cures cure both."""
    from scalekit.storage.direct import DirectUploads

    storage = s3()
    assert codes(look(storage=storage)) == ["bucket-abort"]
    uploads = DirectUploads(storage, secret_key="a secret that is long enough")
    around = Around(url="http://127.0.0.1:1/")
    found = [one for one in look(uploads, around=around) if one.code != "site-unreachable"]
    assert codes(found) == ["bucket-abort", "bucket-cors"]
    cure(s3(), found)
    assert codes(look(uploads, around=around)) == ["site-unreachable"]
    assert any("straight to the bucket" in text for text in examine(loaded(uploads)).unchecked)


def test_a_bucket_that_is_not_there(s3: Any) -> None:
    """A bucket that nobody made is an error."""
    (found,) = look(storage=s3("nobody-made-it"))
    assert found.code == "bucket-unreachable"
    assert "nobody-made-it" in found.what


def test_settings_that_may_not_be_read() -> None:
    """That is a note: whoever owns the bucket may know better."""
    pytest.importorskip("botocore")
    from scalekit.storage.bucket import Finding as Unknown

    (found,) = judge([Unknown(about="unknown", problem="AccessDenied", cure="ask")], where="here")
    assert (found.code, found.severity, found.what) == ("bucket-unknown", "note", "AccessDenied")


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv/media", "overlay"),
        ("/media", "tmpfs"),
        ("/media/with space/photos", "nfs4"),
        ("/media/with space/disk", "ext4"),
    ],
)
def test_which_disk_a_folder_is_on(folder: str, kind: str) -> None:
    """The innermost mount counts, whether or not the folder is there yet."""
    assert file_system(Path(folder), MOUNTS) == kind


def test_a_disk_that_other_servers_do_not_have() -> None:
    """A file system that several servers can mount is none of our business; others are."""
    folder = Path("/media")
    for kind in ("nfs4", "fuse.s3fs", "ceph", None):
        assert list(judge_disk(folder, kind, where="here")) == []
    assert codes(list(judge_disk(folder, "ext4", where="here"))) == ["disk-storage"]


def test_uploads_on_this_disk(tmp_path: Path) -> None:
    """A FileStorage that the application uses is looked at, and its folder is not made."""
    from scalekit.storage.filesystem import FileStorage

    storage = FileStorage(tmp_path / "uploads")
    assert codes(look(bare, storage=storage)) == ["disk-storage"]
    assert not (tmp_path / "uploads").exists()
